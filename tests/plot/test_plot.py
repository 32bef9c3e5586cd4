"""A timeline is drawn from the events of an upload, however it ended, and contains no secret."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.conftest import PART, on_disk, some_bytes, uploader_on
from tests.support.trees import plant

pytest.importorskip("matplotlib")

from aioframeio_upload import FileCompleted, Limits, PartStarted, RetryPolicy, Uploader, UploadError, UploadPlanned
from aioframeio_upload.plot import Timeline
from aioframeio_upload.testing import FakeFrameio, Fault

pytestmark = [
    pytest.mark.slow,
    # Loading matplotlib compiles its patterns and reads its fonts.
    pytest.mark.timeout(120),
]


def words(picture: Path) -> str:
    """Return the texts of an SVG: matplotlib writes each as a comment beside its outlines."""
    text = picture.read_text(encoding="utf-8")
    ElementTree.fromstring(text)
    return "\n".join(re.findall("<!-- (.*?) -->", text, re.DOTALL))


async def drawn(timeline: Timeline, path: Path) -> str:
    await timeline.draw(path)
    return await asyncio.to_thread(words, path)


@pytest.fixture
def busy(fake: FakeFrameio) -> FakeFrameio:
    """A fake that refuses the second part once."""
    fake.add_fault(Fault(do="answer", status=503, code="SlowDown", number=2, headers={"Retry-After": "0"}))
    return fake


async def test_an_upload_is_drawn_with_its_retries(busy: FakeFrameio, uploader: Uploader, tmp_path: Path) -> None:
    timeline = Timeline()
    async with uploader.upload(some_bytes(3 * PART), name="take $1$.mov", folder_id=busy.folder_id) as upload:
        await timeline.watch(upload)
    texts = await drawn(timeline, tmp_path / "out.svg")
    assert "take $1$.mov: 3.1 MB in 3 parts" in texts
    assert "tried again once: 503 SlowDown (1)" in texts
    assert {"part 1", "part 2", "part 3", "arrived", "failed, tried again"} <= set(texts.splitlines())
    assert on_disk(os.listdir, tmp_path) == ["out.svg"]


async def test_the_same_events_make_the_same_file_without_a_secret(
    busy: FakeFrameio, uploader: Uploader, tmp_path: Path
) -> None:
    events = [event async for event in uploader.upload(some_bytes(PART), name="a.mov", folder_id=busy.folder_id)]
    for name in ("a.svg", "b.svg", "c.png", "d.png"):
        timeline = Timeline()
        for at, event in enumerate(events):
            timeline.add(event, at=at / 10)
        await timeline.draw(tmp_path / name)
    first, second, *pictures = [on_disk((tmp_path / name).read_bytes) for name in ("a.svg", "b.svg", "c.png", "d.png")]
    assert first == second
    assert b"a.mov" in first
    assert pictures[0] == pictures[1]
    assert pictures[0].startswith(b"\x89PNG")
    for secret in (busy.token, "X-Amz", "http://127", busy.folder_id):
        assert secret.encode() not in first


async def test_a_failed_upload_and_a_running_one_are_drawn_too(fake: FakeFrameio, tmp_path: Path) -> None:
    fake.add_fault(Fault(do="answer", status=500, times=None))
    timeline = Timeline()
    timeline.add(UploadPlanned("f", "held.mov", None, 10, 1), "held.mov")
    timeline.add(PartStarted(1, 1, 0, 10), "held.mov")
    async with uploader_on(fake, retry=RetryPolicy(attempts=2, base=0.01)) as uploader:
        upload = uploader.upload(b"x", name="lost.mov", folder_id=fake.folder_id)
        await timeline.watch(upload)
        with pytest.raises(UploadError):
            await upload
    texts = await drawn(timeline, tmp_path / "out.svg")
    assert "held.mov: 10 B in 1 part, not ended" in texts
    assert "lost.mov: 1 B in 1 part, failed: PartExhausted" in texts
    assert {"given up", "stopped or under way"} <= set(texts.splitlines())


async def test_a_folder_is_drawn_file_by_file(fake: FakeFrameio, uploader: Uploader, tmp_path: Path) -> None:
    shoot = tmp_path / "shoot"
    on_disk(shoot.mkdir)
    for name in ("a.mov", "b.mov"):
        on_disk((shoot / name).write_bytes, name.encode())
    for expected in ("shoot: 10 B in 2 files", "shoot: 10 B in 2 files, 2 there before"):
        timeline = Timeline()
        await timeline.watch(uploader.upload_folder(shoot, folder_id=fake.folder_id))
        assert expected in (await drawn(timeline, tmp_path / "out.svg")).splitlines()


def moved(timeline: Timeline) -> int:
    """Return the sum of the bytes of the throughput."""
    return round(sum(timeline._history.rates.bins))


async def test_a_folders_throughput_is_the_bytes_that_moved_for_early_and_late_listeners(
    fake: FakeFrameio, uploader: Uploader, tmp_path: Path
) -> None:
    sizes = {"a.mov": 2 * PART, "b/c.mov": 70_000, "b/d.mov": 300, "b/e.mov": 1, "f.mov": PART + 1}
    root = on_disk(plant, tmp_path / "shoot", {**sizes, "zero.mov": 0})
    await uploader.upload_folder(root, folder_id=fake.folder_id, include=["f.mov"])
    for fault in (Fault(do="trickle", number=1, rate=2 * PART, times=2), Fault(number=2, status=503, times=1)):
        fake.add_fault(fault)
    early, late, after = Timeline(), Timeline(), Timeline()
    upload = uploader.upload_folder(root, folder_id=fake.folder_id)
    listening = asyncio.create_task(early.watch(upload))
    async for event in upload:
        if isinstance(event, FileCompleted):  # bytes have moved, and one file was skipped
            break
    await asyncio.gather(listening, late.watch(upload))
    await after.watch(upload)
    assert {moved(timeline) for timeline in (early, late, after)} == {sum(sizes.values()) - sizes["f.mov"]}
    texts = await drawn(early, tmp_path / "out.svg")
    assert "shoot: 3.2 MB in 6 files, 1 there before, 1 empty" in texts


async def test_a_folders_throughput_leaves_out_the_bytes_of_an_earlier_run(fake: FakeFrameio, tmp_path: Path) -> None:
    root = on_disk(plant, tmp_path / "shoot", {"a.mov": 3 * PART, "b.mov": 500})
    journal = tmp_path / "journal" / "j.sqlite3"
    fake.add_fault(Fault(number=3, status=500, times=2))
    retry = RetryPolicy(attempts=2, base=0.001, cap=0.001)
    async with uploader_on(fake, journal=journal, retry=retry, limits=Limits(parts=1, api_pacing=False)) as uploader:
        first, second = Timeline(), Timeline()
        await first.watch(uploader.upload_folder(root, folder_id=fake.folder_id))
        upload = uploader.upload_folder(root, folder_id=fake.folder_id)
        await second.watch(upload)
        assert [file.outcome for file in (await upload).files] == ["resumed"]
    assert moved(second) == PART


async def test_a_picture_is_no_larger_for_thousands_of_parts_and_files(tmp_path: Path) -> None:
    timeline = Timeline()
    for file in range(300):
        for number in range(80):
            timeline.add(PartStarted(number, 1, 0, 1), f"{file}.mov", at=file + number / 100)
    texts = await drawn(timeline, tmp_path / "out.svg")
    assert "300 uploads together" in texts
    assert "more attempts are not drawn" in texts
    assert on_disk((tmp_path / "out.svg").stat).st_size < 2_000_000


async def test_without_events_the_picture_is_empty(tmp_path: Path) -> None:
    assert "0 B sent in 0 s" in await drawn(Timeline(), tmp_path / "out.svg")


async def test_a_name_with_characters_that_the_font_lacks_causes_no_warning(tmp_path: Path) -> None:
    timeline = Timeline()
    timeline.add(UploadPlanned("f", "\u6620\u753b\udc80\n--> $x", None, 10, 1))
    assert "\ufffd\ufffd\ufffd\ufffd" in await drawn(timeline, tmp_path / "out.svg")


async def test_pictures_drawn_into_one_file_at_the_same_time_leave_one_whole_picture(tmp_path: Path) -> None:
    path = tmp_path / "out.svg"
    await asyncio.gather(*(Timeline().draw(path) for _ in range(8)))
    assert on_disk(path.read_text, "utf-8").rstrip().endswith("</svg>")
    assert on_disk(os.listdir, tmp_path) == ["out.svg"]


async def test_a_path_that_cannot_be_written_raises_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\.svg or \.png"):
        await Timeline().draw(tmp_path / "out.gif")
    with pytest.raises(FileNotFoundError):
        await Timeline().draw(tmp_path / "no" / "out.svg")
    assert not on_disk(os.listdir, tmp_path)

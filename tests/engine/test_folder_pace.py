"""How fast a folder goes under the service's limits, and that its memory and its tasks do not grow with the files."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from aioframeio_upload import FileCompleted, FolderPlanned, Limits, Upload
from aioframeio_upload._engine import folder
from aioframeio_upload.testing import FakeFrameio
from tests.conftest import on_disk, uploader_on
from tests.support.trees import count, plant, send

FILES = 60
CREATES_A_SECOND = 5
BURST = 5
UNSETTLED = 250
"""The files that may wait for their confirmation, in place of the real 1000: it bounds the tasks in the same way."""


@pytest.mark.slow
@pytest.mark.parametrize("anyio_backend", [("asyncio", {})], ids=["without debug mode"])
async def test_many_small_files_go_at_the_rate_at_which_files_may_be_created(tmp_path: Path) -> None:
    """The fake refuses as the service documents: a bucket for each operation that refills continuously."""
    root = on_disk(plant, tmp_path / "shoot", {f"{number % 4}/{number:03}.dpx": 1000 for number in range(FILES)})
    async with FakeFrameio() as fake, uploader_on(fake, limits=Limits()) as uploader:
        began = time.monotonic()
        result = await send(uploader, fake, root)
        seconds = time.monotonic() - began
        refused = [seen.operation for seen in fake.requests if seen.status == 429]
        assert len(result.files) == FILES
        assert len(refused) <= 5, refused
        assert seconds <= 1.35 * (FILES - BURST) / CREATES_A_SECOND, "uploads and confirmations overlap with creations"
        assert count(fake, "status") <= 5, "confirmation goes by listing"
        assert count(fake, "list_files") < FILES


@pytest.mark.slow
@pytest.mark.heavy
@pytest.mark.parametrize("anyio_backend", [("asyncio", {})], ids=["without debug mode"])
async def test_tasks_and_events_do_not_grow_with_the_files(
    fake: FakeFrameio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "UNSETTLED", UNSETTLED)
    files = 5 * UNSETTLED
    names = {f"{number % 10}/{number:04}.dpx": 1 for number in range(files)}
    root = on_disk(plant, tmp_path / "shoot", names)
    most, done = 0, 0
    async with uploader_on(fake, limits=Limits(files=8, api_pacing=False)) as uploader:
        async with uploader.upload_folder(root, folder_id=fake.folder_id) as upload:
            async for event in upload:
                if isinstance(event, FileCompleted):
                    done += 1
                    if done % 100 == 0:
                        most = max(most, len(asyncio.all_tasks()))
                        assert [type(fact) for fact in upload._events.facts] == [FolderPlanned]
                        assert [type(one) for one in uploader.uploads] != [Upload]
        assert len(uploader.uploads) == 0
        assert done == files
    # The fake has two tasks for each connection; of ours, eight files are being sent and the rest wait to be confirmed.
    assert most < UNSETTLED + 500


async def test_no_more_files_are_open_or_begun_than_there_are_places(fake: FakeFrameio, tmp_path: Path) -> None:
    root = on_disk(plant, tmp_path / "shoot", {f"{number}.mov": 10 for number in range(40)})
    async with uploader_on(fake, limits=Limits(files=3, parts=8, api_pacing=False)) as uploader:
        await send(uploader, fake, root)
    assert fake.max_parts_in_flight <= 3

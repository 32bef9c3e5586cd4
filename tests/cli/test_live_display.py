"""The live display, as a terminal of a given size shows it."""

from __future__ import annotations

import io
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from aioframeio_upload import (
    AuthenticationError,
    FileFailed,
    PartCompleted,
    PartError,
    PartRetrying,
    Progress,
    SourceError,
)
from aioframeio_upload._cli.live_display import (
    LineDrawing,
    LiveDisplay,
    UploadsDrawing,
    files_line,
    progress_table,
    shorten,
)
from aioframeio_upload._cli.output import has_hyperlinks, is_plain_link
from aioframeio_upload._cli.upload_view import UploadView, came_since
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import PART, uploader_on

pyte = pytest.importorskip("pyte")

NAMES = [
    "a.mov",
    "テイク" * 12 + ".mov",
    "e\u0301" * 40 + ".mov",
    "\N{WOMAN}\u200d\N{MICROPHONE}.mov",
    "long" * 30 + ".mov",
]
HOSTILE = "b\x1b[2J\x1b]0;title\a\r\n.mov"


def progress_of(*, left: float | None = 5.0) -> Progress:
    return Progress(
        bytes_uploaded=17_400_000,
        bytes_confirmed=0,
        total_bytes=64_000_000,
        parts_completed=0,
        total_parts=64,
        bytes_per_second=7_200_000.0,
        seconds_left=left,
    )


@pytest.mark.parametrize("width", [100, 80, 60, 50, 40])
def test_a_row_fits_and_shows_name_percent_and_time(width: int) -> None:
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=True, color_system=None, legacy_windows=False)
    console.print(progress_table([(name, progress_of()) for name in [*NAMES, HOSTILE]], width))
    lines = file.getvalue().splitlines()
    assert len(lines) == len(NAMES) + 1
    assert all(cell_len(line.rstrip()) <= width for line in lines)
    assert all(" 27%" in line and "0:05 left" in line for line in lines)
    assert lines[0].startswith("a.mov")
    assert "\x1b" not in file.getvalue()


def test_the_line_of_a_folder_keeps_up_with_the_lines_above_it() -> None:
    progress = replace(progress_of(), total_parts=22, parts_completed=6)
    assert files_line(progress, 11, compares=True) == "11 of 22 files"
    assert files_line(progress, 0, compares=True) == "6 of 22 files"
    unsent = replace(progress, bytes_before=progress.bytes_uploaded)
    assert files_line(unsent, 7, compares=True) == "7 of 22 files; comparing with Frame.io"
    assert files_line(unsent, 22, compares=True) == "22 of 22 files"


def test_the_bar_of_a_watch_is_of_what_came_since_all_was_sent() -> None:
    settled = replace(progress_of(), bytes_uploaded=64_000_000, parts_completed=64)
    since = came_since(replace(settled, bytes_uploaded=70_000_000, total_bytes=84_000_000, total_parts=65), settled)
    assert (since.bytes_uploaded, since.total_bytes) == (6_000_000, 20_000_000)
    assert (since.parts_completed, since.total_parts) == (64, 65)


@pytest.mark.parametrize(
    ("path", "width", "shown"),
    [
        ("/mnt/cards/A001/take-07.mov", 27, "/mnt/cards/A001/take-07.mov"),
        ("/mnt/cards/A001/take-07.mov", 20, "…/A001/take-07.mov"),
        ("/mnt/cards/A001/take-07.mov", 8, "…/take-07.mov"),
        ("take-07.mov", 8, "take-07.mov"),
        ("/", 0, "/"),
    ],
)
def test_a_path_loses_its_first_folders_and_keeps_its_name(path: str, width: int, shown: str) -> None:
    assert shorten(path.replace("/", os.sep), width) == shown.replace("/", os.sep)


async def test_what_is_kept_counts_parts_that_a_slow_terminal_has_not_shown() -> None:
    async with FakeFrameio(rate_limits=False, part_size=PART) as fake, uploader_on(fake) as uploader:
        upload = uploader.upload(bytes(3 * PART), name="take.mov", folder_id=fake.folder_id)
        view = UploadView("take.mov", upload, keeps_rows=False, uploader=uploader)
        assert view.kept is None
        await upload
        assert view.kept == (3 * PART, 3 * PART)


@pytest.mark.parametrize("can_resume", [True, False])
async def test_a_refused_token_loses_nothing_that_the_journal_keeps(can_resume: bool) -> None:
    async with FakeFrameio(rate_limits=False) as fake, uploader_on(fake) as uploader:
        fake.add_fault(Fault(on="create", status=401, times=None))
        upload = uploader.upload(b"take", name="take.mov", folder_id=fake.folder_id).start()
        view = UploadView("take.mov", upload, keeps_rows=False)
        view.can_resume = can_resume
        errors = [error async for event in upload if (error := view.update(event)[1])]
        with pytest.raises(AuthenticationError):
            await upload
    hint = "; then run the same command again: what was sent is kept"
    assert [error.endswith(hint) for error in errors] == [can_resume]


WRITTEN = NAMES if sys.platform == "win32" else [*NAMES, HOSTILE]


@pytest.fixture
def shoot(tmp_path: Path) -> Path:
    """A folder of files whose names are long, wide, combined or hostile."""
    folder = tmp_path / "shoot"
    folder.mkdir()
    for name in WRITTEN:
        (folder / name).write_bytes(b"frames")
    return folder


async def test_a_network_that_is_down_gets_one_line_until_a_part_arrives() -> None:
    def again(number: int, reason: str, status: int | None = None) -> PartRetrying:
        return PartRetrying(number, 1, 0.5, PartError(reason, number=number, attempts=1, status=status))

    async with FakeFrameio() as fake, uploader_on(fake) as uploader:
        upload = uploader.upload(b"frames", folder_id=fake.folder_id, name="a.mov")
        await upload
    view = UploadView("a.mov", upload, keeps_rows=False)
    events = [again(number, "no connection to s3.example") for number in (1, 2, 3, 1)]
    events += [again(2, "no byte moved for 30 s"), again(3, "no byte moved for 30 s")]
    assert [event.number for event in events if view.update(event)[0] is not None] == [1, 2]
    assert view.retrying == {1, 2, 3}
    answers = [again(number, "slow down", 503) for number in (1, 2)]
    assert None not in [view.update(event)[0] for event in answers], "S3's answers are told apart by their request"
    view.update(PartCompleted(3, 10, None, 2, 0.1))
    assert view.update(events[0])[0] == f"a.mov: again in 0.5 s: {events[0].error}"


class Screen(io.StringIO):
    """A terminal's output: what was written, and that it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("in_file", [False, True])
async def test_a_watch_prints_an_error_when_it_happens(monkeypatch: pytest.MonkeyPatch, in_file: bool) -> None:
    """On the terminal above the drawing, or at once to where stderr goes."""
    out, complaint = Screen(), io.StringIO() if in_file else Screen()
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr("sys.stderr", complaint)
    monkeypatch.setenv("TERM", "xterm")
    async with FakeFrameio() as fake, uploader_on(fake) as uploader:
        upload = uploader.upload(b"frames", folder_id=fake.folder_id, name="a.mov")
        await upload
        view = UploadView("in", upload, keeps_rows=False)
        async with LiveDisplay(LineDrawing(lambda: "watching"), keeps_errors=False) as display:
            await display.show(view, FileFailed(path="b.mov", error=SourceError("it changed")))
            during = (complaint if in_file else out).getvalue()
    shown = out.getvalue() + complaint.getvalue()
    assert "error: in/b.mov: SourceError: it changed" in during
    assert shown.count("it changed") == 1


@pytest.mark.parametrize("has_them", [True, False])
@pytest.mark.parametrize(("width", "height"), [(60, 15), (40, 8)])
async def test_a_folder_leaves_its_links_and_no_bars_on_the_screen(
    shoot: Path, monkeypatch: pytest.MonkeyPatch, width: int, height: int, has_them: bool
) -> None:
    written = Screen()
    monkeypatch.setattr("sys.stdout", written)
    for name, value in {"COLUMNS": width, "LINES": height, "FORCE_HYPERLINK": int(has_them), "TERM": "xterm"}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.delenv("NO_COLOR", raising=False)
    async with FakeFrameio(rate_limits=False, part_size=PART, faults=[Fault(number=1)]) as fake:
        async with uploader_on(fake) as uploader:
            upload = uploader.upload_folder(shoot, folder_id=fake.folder_id)
            view = UploadView("shoot", upload, keeps_rows=False, uploader=uploader)
            async with LiveDisplay(UploadsDrawing([view])) as display:
                async for event in upload:
                    await display.show(view, event)
            await upload
        links = [f"https://next.frame.io/project/{fake.project_id}/view/{file.id}" for file in fake.files]
    screen = pyte.HistoryScreen(width, height, history=500)
    # pyte 0.8 drops what follows a joiner in the same text.
    pyte.Stream(screen).feed(written.getvalue().replace("\n", "\r\n").replace("\N{ZERO WIDTH JOINER}", ""))
    # pyte 0.8 keeps the rows that have scrolled away as they were, one cell for each column.
    gone = ["".join(row[x].data for x in range(width)) for row in screen.history.top]
    shown = "".join([*gone, *screen.display])
    assert "shoot: " in shown
    assert f"{len(WRITTEN)} sent, 0 there before, 0 failed" in shown
    assert "%" not in shown, "a bar was left behind"
    assert screen.title == "", "a name set the title"
    assert all((link in shown.replace(" ", "")) is not has_them for link in links)
    assert all((f";{link}\x1b\\" in written.getvalue()) is has_them for link in links)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, False),
        ({"TERM": "xterm-256color"}, False),
        ({"TERM": "xterm-kitty"}, True),
        ({"TERM_PROGRAM": "iTerm.app"}, True),
        ({"VTE_VERSION": "7600"}, True),
        ({"VTE_VERSION": "7600", "FORCE_HYPERLINK": "0"}, False),
        ({"FORCE_HYPERLINK": "1"}, True),
    ],
)
def test_hyperlinks_are_used_where_the_variables_say_so(environment: dict[str, str], expected: bool) -> None:
    assert has_hyperlinks(environment) is expected


@pytest.mark.parametrize("link", ["https://a/\x1b\\", "javascript:alert(1)", "https://a/\u202e", "https://a/\n", ""])
def test_only_a_plain_link_becomes_a_hyperlink(link: str) -> None:
    assert not is_plain_link(link)

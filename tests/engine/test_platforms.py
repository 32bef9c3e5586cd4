"""What other systems lack or do otherwise, simulated on this one; docs/platforms.md lists it."""

from __future__ import annotations

import errno
import json
import os
import select
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from aioframeio_upload import Event, JournalError, Progress
from aioframeio_upload._cli import service
from aioframeio_upload._cli.output import TolerantFile
from aioframeio_upload._cli.signals import words_of
from aioframeio_upload._core.file_queue import LocalFile
from aioframeio_upload._core.patterns import patterns
from aioframeio_upload._io import atomic_write, journal_sqlite, part_payload, walk
from aioframeio_upload._io.atomic_write import write_atomically
from aioframeio_upload.testing import FakeFrameio
from tests.conftest import PART, on_disk, sha256, some_bytes, uploader_on
from tests.support.commands import Program

SIZE = 2 * PART + 1
DATA = some_bytes(SIZE)
JUNCTION = 0xA0000003
"""IO_REPARSE_TAG_MOUNT_POINT (`winnt.h`)."""

posix = pytest.mark.skipif(sys.platform == "win32", reason="as POSIX has it")


async def stream() -> AsyncIterator[bytes]:
    yield DATA


# -- files -------------------------------------------------------------------------------------------------------------


@posix
async def test_a_journal_may_be_in_a_folder_that_is_a_link_as_tmp_is_on_macos(
    fake: FakeFrameio, make_file: Callable[..., Path], tmp_path: Path
) -> None:
    on_disk((tmp_path / "private").mkdir)
    on_disk((tmp_path / "link").symlink_to, "private")
    async with uploader_on(fake, journal=tmp_path / "link" / "uploads.sqlite3") as uploader:
        await uploader.upload(make_file(SIZE), folder_id=fake.folder_id)
    assert [file.complete for file in fake.files] == [True]


async def test_the_fake_stores_line_feeds_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows writes two bytes for each, unless the file was opened with O_BINARY."""
    binary, opened, true_open = 1 << 30, [], os.open

    def recorded(path: Any, flags: int, *more: Any, **options: Any) -> int:
        opened.append((str(path), flags))
        return true_open(path, flags & ~binary, *more, **options)

    monkeypatch.setattr(os, "O_BINARY", binary, raising=False)
    monkeypatch.setattr(os, "open", recorded)
    async with FakeFrameio(rate_limits=False, part_size=PART) as fake, uploader_on(fake) as uploader:
        await uploader.upload(b"\n" * SIZE, name="a", folder_id=fake.folder_id)
        stored = [flags for path, flags in opened if "fake-frameio-" in path and flags & os.O_CREAT]
    assert len(stored) == 3
    assert all(flags & binary for flags in stored)


async def test_a_spooled_part_is_closed_where_a_temporary_file_has_a_wrapper_that_removes_it(
    fake: FakeFrameio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Windows `TemporaryFile` is `NamedTemporaryFile`; from Python 3.14 on, one that is not closed is a warning."""
    made: list[Any] = []

    def named(*arguments: Any, **options: Any) -> Any:
        made.append(tempfile.NamedTemporaryFile(*arguments, **options))  # noqa: SIM115  # the Uploader closes it
        return made[-1]

    monkeypatch.setattr(tempfile, "TemporaryFile", named)
    async with uploader_on(fake, spool_dir=tmp_path) as uploader:
        await uploader.upload(stream(), size=SIZE, name="a", folder_id=fake.folder_id)
    assert [file.sha256 for file in fake.files] == [sha256(DATA)]
    assert len(made) == 3
    assert all(wrapper.closed and wrapper._closer.close_called for wrapper in made)
    assert on_disk(os.listdir, tmp_path) == []


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1, thread_name_prefix="aioframeio-upload") as executor:
        yield executor


@dataclass
class Listed:
    """An entry of a listing, with what Windows says of it."""

    path: str
    stale: os.stat_result
    tag: int = 0

    @property
    def name(self) -> str:
        return os.path.basename(self.path)

    def stat(self, *, follow_symlinks: bool = True) -> Any:
        return SimpleNamespace(st_reparse_tag=self.tag) if not follow_symlinks else self.stale

    def is_symlink(self) -> bool:
        return False

    def is_dir(self) -> bool:
        return os.path.isdir(self.path)


def test_on_windows_a_file_is_asked_for_itself_because_a_listing_may_be_outdated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "growing.mov"
    path.write_bytes(b"1")
    before = path.stat()
    path.write_bytes(b"12")
    os.utime(path, (10, 20))
    monkeypatch.setattr(walk, "ON_WINDOWS", True)
    tree = walk.Tree(str(tmp_path))
    walk._look_at(Listed(str(path), before), path.name, tree)  # type: ignore[arg-type]
    assert tree.files == [LocalFile("growing.mov", 2, 20 * 10**9, path.stat().st_ctime_ns)]


def test_on_windows_a_junction_is_a_link_to_a_folder_before_python_3_12_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walk, "ON_WINDOWS", True)
    monkeypatch.setattr(walk, "MOUNT_POINT", JUNCTION)
    found = tmp_path.stat()
    assert walk._is_link_to_folder(Listed(str(tmp_path), found, JUNCTION))  # type: ignore[arg-type]
    assert not walk._is_link_to_folder(Listed(str(tmp_path), found))  # type: ignore[arg-type]


async def test_a_walk_is_the_same_with_the_calls_that_windows_needs(
    tmp_path: Path, executor: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_disk((tmp_path / "a").mkdir)
    on_disk((tmp_path / "a" / "b.mov").write_bytes, DATA)
    usual = await walk.walk(str(tmp_path), patterns((), ()), executor)
    monkeypatch.setattr(walk, "ON_WINDOWS", True)
    assert await walk.walk(str(tmp_path), patterns((), ()), executor) == usual
    assert usual.size == SIZE


@posix
def test_a_journal_whose_path_begins_with_two_slashes_is_found_as_on_a_windows_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite reads `file://server/...` as a host, and refuses it with an error about that."""
    share = "\\\\server\\share\\100% é.sqlite3"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os.path, "abspath", lambda path: path)
    with sqlite3.connect(share) as connection:
        connection.execute("CREATE TABLE t (x)")
    connection.close()
    with pytest.raises(JournalError, match="is a database, but not a journal"):
        journal_sqlite.check_header(share)
    monkeypatch.undo()
    with pytest.raises(JournalError, match="is a database, but not a journal"):
        journal_sqlite.check_header(f"//{tmp_path}/{share}")


# -- files that another program has open -------------------------------------------------------------------------------


@pytest.fixture
def scanned(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Return a function that lets so many replacements fail, as while a virus scanner reads the new file."""
    true_replace = os.replace

    def scan(times: int) -> None:
        left = iter(range(times))

        def refuse(*paths: Any) -> None:
            if next(left, None) is not None:
                raise PermissionError(errno.EACCES, "Access is denied")
            true_replace(*paths)

        monkeypatch.setattr(os, "replace", refuse)
        monkeypatch.setattr(atomic_write, "TRIES", 5)
        monkeypatch.setattr(atomic_write, "PAUSE", 0)

    return scan


def test_a_report_is_written_as_soon_as_windows_lets_it_replace_the_old_one(
    tmp_path: Path, scanned: Callable[[int], None]
) -> None:
    (report := tmp_path / "report.json").write_bytes(b"old")
    scanned(4)
    write_atomically(report, b"new")
    assert report.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["report.json"]


def test_a_report_that_another_program_keeps_open_stays_as_it_is(
    tmp_path: Path, scanned: Callable[[int], None]
) -> None:
    (report := tmp_path / "report.json").write_bytes(b"old")
    scanned(5)
    with pytest.raises(PermissionError, match="Access is denied"):
        write_atomically(report, b"new")
    assert report.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["report.json"]


# -- the socket, the clock ---------------------------------------------------------------------------------------------

OF_SOCKETS = ("TCP_NOTSENT_LOWAT", "TCP_KEEPIDLE", "TCP_KEEPALIVE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")


async def test_an_upload_needs_no_option_of_sockets_that_a_system_may_lack(
    fake: FakeFrameio, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in OF_SOCKETS:
        monkeypatch.delattr(socket, name, raising=False)
    monkeypatch.setattr(part_payload, "FAST", -1.0)  # every connection counts as a slow one
    async with uploader_on(fake) as uploader:
        await uploader.upload(DATA, name="a", folder_id=fake.folder_id)
    assert [file.sha256 for file in fake.files] == [sha256(DATA)]


async def test_an_upload_works_with_a_clock_that_advances_in_steps_of_16_ms(
    fake: FakeFrameio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`time.monotonic` on Windows before Python 3.13: most parts take 0 s."""
    true_monotonic, step = time.monotonic, 0.015625
    monkeypatch.setattr(time, "monotonic", lambda: true_monotonic() // step * step)
    events: list[Event] = []
    async with uploader_on(fake) as uploader, uploader.upload(DATA, name="a", folder_id=fake.folder_id) as upload:
        events += [event async for event in upload]
    assert [file.sha256 for file in fake.files] == [sha256(DATA)]
    assert all(json.dumps(event.to_dict(), allow_nan=False) for event in events)
    assert [event.bytes_uploaded for event in events if isinstance(event, Progress)][-1] == SIZE


# -- the command line --------------------------------------------------------------------------------------------------


def test_the_signals_that_stop_a_command_are_those_that_a_system_has() -> None:
    assert words_of(SimpleNamespace(SIGINT=2, SIGTERM=15, SIGHUP=1)) == {
        2: "interrupted",
        15: "terminated",
        1: "hung up",
    }
    # Windows has no SIGHUP: closing the window is a SIGBREAK.
    assert words_of(SimpleNamespace(SIGINT=2, SIGTERM=15, SIGBREAK=21)) == {
        2: "interrupted",
        15: "terminated",
        21: "interrupted",
    }


@posix
def test_output_that_cannot_be_waited_for_is_lost_and_raises_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows `select` takes sockets only."""

    def refuse(*_: object) -> None:
        raise OSError(10038, "An operation was attempted on something that is not a socket")

    reading, writing = os.pipe()
    try:
        os.set_blocking(writing, False)
        with TolerantFile(writing, "w", closefd=False) as stream:
            monkeypatch.setattr(select, "select", refuse)
            sent = sum(stream.write(bytes(1 << 16)) for _ in range(64))
            assert sent == 64 << 16, "what is lost counts as written"
            assert stream.error is not None
            assert stream.error.errno == 10038
    finally:
        os.close(reading)
        os.close(writing)


def test_a_host_is_looked_up_once_for_a_proxy_and_not_at_all_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows and macOS `proxy_bypass` may ask the resolver, and it is called on the loop for each request."""
    asked: list[str] = []

    def bypass(host: str) -> bool:
        asked.append(host)
        return host == "near.example"

    monkeypatch.setattr(service, "proxy_bypass", bypass)
    monkeypatch.setattr(service, "getproxies", lambda: {"https": "http://proxy.example:3128"})
    choose = service.ProxyOfHost(None)
    far = [choose("https://far.example/a"), choose("https://far.example/b")]
    near = [choose("https://near.example/a"), choose("https://near.example/b"), choose("http://far.example/")]
    assert (far, near) == (["http://proxy.example:3128"] * 2, [None] * 3)
    assert asked == ["far.example", "near.example"]


@pytest.fixture
def western(tmp_path: Path) -> Iterator[tuple[FakeFrameio, Program]]:
    """A program whose output goes to a file or a pipe on a Windows of Western Europe: the code page 1252."""
    with FakeFrameio(rate_limits=False, part_size=PART).in_thread() as fake:
        program = Program(fake, tmp_path)
        program.environment |= {"PYTHONUTF8": "0", "PYTHONIOENCODING": "cp1252", "LC_ALL": "C.UTF-8"}
        yield fake, program


@pytest.mark.needs_program
@pytest.mark.parametrize("how", [[], ["--json"], ["--quiet"], ["--verbose"]], ids=" ".join)
def test_a_name_that_the_console_cannot_show_costs_no_upload(
    western: tuple[FakeFrameio, Program], tmp_path: Path, how: list[str]
) -> None:
    fake, program = western
    (tmp_path / "Łódź 🎬.mov").write_bytes(DATA)
    with program.start("upload", "Łódź 🎬.mov", "--folder", fake.folder_id, *how) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        stdout, stderr = (stream.buffer.read().decode("cp1252") for stream in (running.stdout, running.stderr))  # type: ignore[attr-defined]
    assert (running.returncode, [file.name for file in fake.files]) == (0, ["Łódź 🎬.mov"]), stderr
    assert "Traceback" not in stderr
    if not how:
        assert "\\u0141ód\\u017a \\U0001f3ac.mov" in stdout


@pytest.mark.needs_program
def test_the_help_fits_every_code_page(western: tuple[FakeFrameio, Program]) -> None:
    _, program = western
    status, stdout, stderr = program.run("upload", "--help")
    assert (status, stderr) == (0, "")
    assert stdout.isascii()


@pytest.mark.needs_program
@pytest.mark.needs_tree
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_test_can_be_imported_without_what_windows_lacks() -> None:
    """One module that cannot is an error of the whole run, before its first test."""
    collect = ("-P", "-m", "pytest", "-p", "tests.support.windows_like", "-p", "no:xdist", "--collect-only", "-qq")
    root = Path(__file__).resolve().parents[2]
    ran = subprocess.run(
        [sys.executable, *collect, "tests"],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True,
        encoding="utf-8",
        errors="replace",
    )
    assert ran.returncode == 0, [line for line in ran.stdout.splitlines() if line.startswith(("E  ", "ERROR "))]

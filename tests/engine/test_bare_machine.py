"""A machine that lacks what a usual one has: no working folder, no temporary one, no home. Only what needs it fails."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aioframeio_upload import JournalError, SourceError, Uploader
from aioframeio_upload._io.spool import default_directory
from aioframeio_upload.testing import FakeFrameio
from tests.conftest import PART, on_disk, sha256, some_bytes, uploader_on
from tests.support.commands import Program
from tests.support.seen import operations

SIZE = 2 * PART + 1
DATA = some_bytes(SIZE)

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a working folder cannot be deleted there")


async def stream() -> AsyncIterator[bytes]:
    yield DATA


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder that was deleted."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(FileNotFoundError):
        os.getcwd()


def take_temporary_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave nothing that Python would take for one; and /var/tmp cannot be written to."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", list)
    monkeypatch.setattr(os, "access", lambda *_, **__: False)


@pytest.mark.usefixtures("nowhere")
async def test_without_a_working_folder_what_does_not_need_it_works(
    fake: FakeFrameio, make_file: Callable[..., Path], tmp_path: Path
) -> None:
    path = make_file(SIZE)
    async with uploader_on(fake, journal=tmp_path / "uploads.sqlite3") as uploader:
        await uploader.upload(stream(), size=SIZE, name="a", folder_id=fake.folder_id)
        await uploader.upload(path, folder_id=fake.folder_id)
        await uploader.upload_folder(path.parent, folder_id=fake.folder_id, include=["take.mov"])
    assert {file.sha256 for file in fake.files} == {sha256(DATA), sha256(path)}


@pytest.mark.usefixtures("nowhere")
async def test_without_a_working_folder_a_relative_path_is_refused_in_words(
    fake: FakeFrameio, uploader: Uploader
) -> None:
    with pytest.raises(SourceError, match=r"take\.mov: No such file or directory"):
        await uploader.upload("take.mov", folder_id=fake.folder_id)
    with pytest.raises(SourceError, match="No such file or directory"):
        await uploader.upload_folder("shoot", folder_id=fake.folder_id)
    for make in (uploader.upload, uploader.upload_folder):
        with pytest.raises(ValueError, match="name"):
            on_disk(lambda make: make(".", folder_id=fake.folder_id), make)
    with pytest.raises(JournalError, match=r"uploads\.sqlite3: No such file or directory"):
        await uploader_on(fake, journal="uploads.sqlite3").__aenter__()
    assert operations(fake) == []


@pytest.mark.usefixtures("nowhere")
async def test_without_a_temporary_folder_a_stream_needs_one_named(
    fake: FakeFrameio,
    uploader: Uploader,
    make_file: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    take_temporary_folders(monkeypatch)
    with pytest.raises(SourceError, match="there is no temporary folder; pass spool_dir="):
        await uploader.upload(stream(), size=SIZE, name="a", folder_id=fake.folder_id)
    assert fake.files == ()
    await uploader.upload(make_file(SIZE), folder_id=fake.folder_id)
    async with uploader_on(fake, spool_dir=tmp_path) as other:
        await other.upload(stream(), size=SIZE, name="a", folder_id=fake.folder_id)
    assert len(fake.files) == 2


@pytest.mark.usefixtures("nowhere")
def test_without_a_temporary_folder_another_one_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", list)
    assert default_directory() == "/var/tmp"


async def test_a_fake_says_that_it_needs_a_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    take_temporary_folders(monkeypatch)
    with pytest.raises(RuntimeError, match="set TMPDIR, or pass store=False"):
        await FakeFrameio().__aenter__()
    async with FakeFrameio(store=False):
        pass


# -- the command line --------------------------------------------------------------------------------------------------


@pytest.fixture
def service() -> Iterator[FakeFrameio]:
    with FakeFrameio(rate_limits=False, part_size=PART).in_thread() as fake:
        yield fake


HOMELESS = """
import pwd, runpy, sys
def getpwuid(number):
    raise KeyError(number)
pwd.getpwuid = getpwuid
del sys.argv[1:4]  # the command that `Program` appends: python -m aioframeio_upload
runpy.run_module("aioframeio_upload", run_name="__main__")
"""
"""A program for a container that runs under any user number: it has no entry in /etc/passwd.

It is run from a file, as the installed command is. With `python -c`, `sys.path[0]` is "", and CPython 3.13.0 cannot
then `import asyncio` in a removed working folder ("SystemError: error return without exception set"); 3.11 can.
"""


@pytest.fixture
def program(service: FakeFrameio, tmp_path: Path) -> Callable[..., tuple[int, str, str]]:
    """The program, without a working folder and without a home."""
    bare = Program(service, tmp_path)
    for name in ("HOME", "XDG_STATE_HOME"):
        bare.environment.pop(name, None)
    script = tmp_path / "homeless.py"
    script.write_text(HOMELESS, encoding="utf-8")
    bare.environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)

    def run(*arguments: str, **environment: str) -> tuple[int, str, str]:
        (tmp_path / "gone").mkdir()
        shell = f'cd "{tmp_path}/gone" && rmdir "{tmp_path}/gone" && exec "$@"'
        before = ("sh", "-c", shell, "sh", sys.executable, str(script))
        with bare.start(*arguments, before=before, environment=environment) as running:
            stdout, stderr = running.communicate(timeout=50)
        assert "Traceback" not in stderr
        return running.returncode, stdout, stderr

    return run


def test_an_upload_goes_on_without_a_journal_and_says_so(
    service: FakeFrameio, program: Any, make_file: Callable[..., Path], tmp_path: Path
) -> None:
    status, _, complaint = program("upload", str(make_file(10)), "--folder", service.folder_id)
    assert (status, len(service.files)) == (0, 1)
    assert complaint.startswith("nothing is recorded: there is no home folder to keep a journal in; name one with")
    arguments = (str(make_file(11, "b.mov")), "--folder", service.folder_id)
    assert program("upload", *arguments, "--journal", str(tmp_path / "j"))[::2] == (0, "")
    assert program("upload", *arguments, "--no-journal")[::2] == (0, "")
    status, _, complaint = program("upload", str(make_file(12, "c.mov")), *arguments[1:], HOME=str(tmp_path))
    assert (status, complaint) == (0, "")
    assert (tmp_path / ".local").exists() or sys.platform == "darwin"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root writes everywhere")
def test_a_home_that_cannot_be_written_to_is_none(
    service: FakeFrameio, program: Any, make_file: Callable[..., Path], tmp_path: Path
) -> None:
    (home := tmp_path / "home").mkdir(0o500)
    status, _, complaint = program("upload", str(make_file(10)), "--folder", service.folder_id, HOME=str(home))
    assert (status, len(service.files)) == (0, 1)
    assert "cannot be written to" in complaint


@pytest.mark.parametrize("command", ["pending", "resume"])
def test_what_is_nothing_without_a_journal_asks_for_one(program: Any, command: str) -> None:
    assert program(command) == (
        2,
        "",
        "error: there is no home folder to keep a journal in; name one with --journal, or set HOME\n",
    )


def test_a_folder_that_is_gone_is_told(service: FakeFrameio, program: Any) -> None:
    target = ("--folder", service.folder_id, "--no-journal")
    assert program("upload", ".", *target)[::2] == (
        2,
        "error: .: the working directory was removed; give an absolute path\n",
    )
    status, _, complaint = program("upload", "take.mov", *target)
    assert (status, complaint) == (1, "error: take.mov: SourceError: No such file or directory; check the path\n")
    assert service.files == ()

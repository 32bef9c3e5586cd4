"""Every kind of source is sent completely, and an invalid one is refused before anything is created at Frame.io."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import sys
import tempfile
import zipfile
from array import array
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, BinaryIO, cast

import aiofiles
import pytest

from aioframeio_upload import Limits, PartRejected, SourceError, Uploader
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import PART, on_disk, open_files, reached, sha256, some_bytes, uploader_on

SIZE = 2 * PART + 77
DATA = some_bytes(SIZE)


async def send(fake: FakeFrameio, uploader: Uploader, source: Any, **options: Any) -> str | None:
    """Upload a source under a given name, and return the digest of what arrived."""
    arguments: dict[str, Any] = {"name": "take.mov", "folder_id": fake.folder_id}
    await uploader.upload(source, **arguments | options)
    return fake.files[-1].sha256


# -- all kinds ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Path, str])
async def test_a_path(fake: FakeFrameio, uploader: Uploader, make_file: Callable[..., Path], kind: Any) -> None:
    path = make_file(SIZE)
    assert await send(fake, uploader, kind(path), name=None) == sha256(path)
    assert fake.files[0].name == "take.mov"


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
async def test_bytes(fake: FakeFrameio, uploader: Uploader, kind: Any) -> None:
    assert await send(fake, uploader, kind(DATA)) == sha256(DATA)


async def test_a_memoryview_counts_in_bytes(fake: FakeFrameio, uploader: Uploader) -> None:
    numbers = array("Q", range(1000))
    assert await send(fake, uploader, memoryview(numbers)) == sha256(numbers.tobytes())
    assert fake.files[0].size == 8000


async def test_a_bytearray_is_free_again_afterwards(fake: FakeFrameio, uploader: Uploader) -> None:
    data = bytearray(DATA)
    await send(fake, uploader, data)
    data.clear()
    data.extend(DATA)
    fake.add_fault(Fault(status=403, times=None))
    with pytest.raises(PartRejected) as caught:
        await send(fake, uploader, data)
    data.clear()
    assert caught.value.status == 403


async def test_an_open_file_from_its_position_to_its_end(
    fake: FakeFrameio, uploader: Uploader, make_file: Callable[..., Path]
) -> None:
    with on_disk(make_file(SIZE).open, "rb") as file:
        on_disk(file.seek, 100)
        assert await send(fake, uploader, file, name=None) == sha256(DATA[100:])
        assert fake.files[0].name == "take.mov"
        assert not file.closed


async def test_an_unbuffered_file(fake: FakeFrameio, uploader: Uploader, make_file: Callable[..., Path]) -> None:
    with on_disk(make_file(SIZE).open, "rb", buffering=0) as file:
        assert await send(fake, uploader, file) == sha256(DATA)


async def test_a_bytes_io_from_its_position(fake: FakeFrameio, uploader: Uploader) -> None:
    file = io.BytesIO(DATA)
    file.seek(7)
    assert await send(fake, uploader, file) == sha256(DATA[7:])
    assert not file.closed


@pytest.mark.parametrize("max_size", [0, 1000], ids=["in memory", "rolled over"])
async def test_a_spooled_temporary_file(fake: FakeFrameio, uploader: Uploader, tmp_path: Path, max_size: int) -> None:
    with on_disk(tempfile.SpooledTemporaryFile, max_size, dir=tmp_path) as file:
        on_disk(file.write, DATA)
        on_disk(file.seek, 0)
        assert await send(fake, uploader, file) == sha256(DATA)
        on_disk(file.close)


async def test_a_member_of_an_archive(fake: FakeFrameio, uploader: Uploader) -> None:
    """It is seekable but slow to seek, and some reads return fewer bytes than requested."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("inside/take-01.mov", DATA)
    with zipfile.ZipFile(packed) as archive, archive.open("inside/take-01.mov") as member:
        assert await send(fake, uploader, member, name=None) == sha256(DATA)
    assert fake.files[0].name == "take-01.mov"


class ShortReads(io.RawIOBase):
    """A file object that returns at most 1,000 bytes per read, as a raw file may."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._file.seek(offset, whence)

    def readinto(self, buffer: Any, /) -> int:
        return self._file.readinto(memoryview(buffer)[:1000])


async def test_a_file_object_that_reads_less_than_it_is_asked_for(fake: FakeFrameio, uploader: Uploader) -> None:
    assert await send(fake, uploader, ShortReads(DATA[:PART])) == sha256(DATA[:PART])


async def test_one_file_object_may_be_in_two_uploads_one_after_the_other(fake: FakeFrameio, uploader: Uploader) -> None:
    file = io.BytesIO(DATA)
    for _ in range(2):
        file.seek(0)
        assert await send(fake, uploader, file) == sha256(DATA)


# -- names -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("/etc/passwd", "passwd"),
        ("C:\\Users\\x\\y.mov", "y.mov"),
        ("..\\..\\y.mov", "y.mov"),
        ("a\x00b\r\nSet-Cookie: c.mov", "abSet-Cookie: c.mov"),
        ("film\u202evom.exe", "filmvom.exe"),
        ("\x1b[31mred.mov", "[31mred.mov"),
        ("  take 7.mov ", "take 7.mov"),
        ("Übersicht 最終.mov", "Übersicht 最終.mov"),
        ("folder/", "folder"),
        (".hidden", ".hidden"),
    ],
)
async def test_a_name_is_its_last_component_without_control_characters(
    fake: FakeFrameio, uploader: Uploader, given: str, kept: str
) -> None:
    upload = uploader.upload(b"x", name=given, folder_id=fake.folder_id)
    assert upload.name == kept
    assert (await upload).name == fake.files[0].name == kept


@pytest.mark.parametrize("name", ["", " ", ".", "..", "/", "\\", "../..", "\x00", "a/\n", "a/."])
async def test_an_empty_name_is_refused(fake: FakeFrameio, uploader: Uploader, name: str) -> None:
    with pytest.raises(ValueError, match="the name is empty"):
        uploader.upload(b"x", name=name, folder_id=fake.folder_id)


async def numbers() -> AsyncIterator[bytes]:
    yield b"x"


@pytest.mark.parametrize("source", [b"x", bytearray(b"x"), io.BytesIO(b"x"), numbers()], ids=lambda s: type(s).__name__)
async def test_what_has_no_name_needs_one(fake: FakeFrameio, uploader: Uploader, source: Any) -> None:
    with pytest.raises(ValueError, match="no name of its own"):
        uploader.upload(source, folder_id=fake.folder_id)


async def test_a_file_that_is_known_by_its_number_needs_a_name(fake: FakeFrameio, uploader: Uploader) -> None:
    with on_disk(tempfile.TemporaryFile) as file, pytest.raises(ValueError, match="no name of its own"):
        uploader.upload(cast(BinaryIO, file), folder_id=fake.folder_id)


async def test_a_given_name_wins(fake: FakeFrameio, uploader: Uploader, make_file: Callable[..., Path]) -> None:
    await send(fake, uploader, make_file(1), name="other.mov")
    assert fake.files[0].name == "other.mov"


# -- what is no source -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [None, 7, [b"x"], iter([b"x"]), numbers, io.StringIO("x"), memoryview(b"abcd")[::2]],
    ids=["None", "int", "list", "iterator", "function", "text", "strided view"],
)
async def test_an_object_of_another_kind_is_refused_at_once(fake: FakeFrameio, uploader: Uploader, source: Any) -> None:
    with pytest.raises(TypeError):
        uploader.upload(source, name="take.mov", folder_id=fake.folder_id)


async def refused(fake: FakeFrameio, uploader: Uploader, source: Any, match: str, **options: Any) -> SourceError:
    """Expect a SourceError before anything is created at Frame.io; nothing may hang."""
    async with asyncio.timeout(5):
        with pytest.raises(SourceError, match=match) as caught:
            await send(fake, uploader, source, **options)
    assert type(caught.value) is SourceError
    assert fake.requests == []
    return caught.value


async def test_a_missing_path(fake: FakeFrameio, uploader: Uploader, tmp_path: Path) -> None:
    error = await refused(fake, uploader, tmp_path / "none.mov", "No such file")
    assert error.path == str(tmp_path / "none.mov")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows lets few users make links")
async def test_a_link_to_nothing(fake: FakeFrameio, uploader: Uploader, tmp_path: Path) -> None:
    on_disk((tmp_path / "take.mov").symlink_to, "gone/take.mov")
    await refused(fake, uploader, tmp_path / "take.mov", "is a link to gone/take.mov, which does not exist")


async def test_a_directory(fake: FakeFrameio, uploader: Uploader, tmp_path: Path) -> None:
    await refused(fake, uploader, tmp_path, "is a folder")


async def test_a_path_below_a_file(fake: FakeFrameio, uploader: Uploader, make_file: Callable[..., Path]) -> None:
    await refused(fake, uploader, make_file(10) / "take.mov", "Not a directory")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
async def test_an_unreadable_file(fake: FakeFrameio, uploader: Uploader, make_file: Callable[..., Path]) -> None:
    path = make_file(10)
    on_disk(path.chmod, 0)
    await refused(fake, uploader, path, "Permission denied")


async def test_a_path_with_a_nul_byte(fake: FakeFrameio, uploader: Uploader) -> None:
    await refused(fake, uploader, "a\0b.mov", "is not a valid path")


@pytest.mark.skipif(sys.platform == "win32", reason="no FIFO")
async def test_a_fifo_is_refused_and_not_waited_for(fake: FakeFrameio, uploader: Uploader, tmp_path: Path) -> None:
    on_disk(os.mkfifo, tmp_path / "fifo")
    await refused(fake, uploader, tmp_path / "fifo", "is not a regular file")


@pytest.mark.skipif(sys.platform == "win32", reason="no devices")
async def test_a_device(fake: FakeFrameio, uploader: Uploader) -> None:
    await refused(fake, uploader, "/dev/zero", "is not a regular file")


async def test_an_empty_file(fake: FakeFrameio, uploader: Uploader, make_file: Callable[..., Path]) -> None:
    await refused(fake, uploader, make_file(0), "is empty")


@pytest.mark.parametrize("source", [b"", memoryview(b""), io.BytesIO()], ids=lambda source: type(source).__name__)
async def test_empty_bytes(fake: FakeFrameio, uploader: Uploader, source: Any) -> None:
    await refused(fake, uploader, source, "is empty")


async def test_a_file_object_at_or_behind_its_end(fake: FakeFrameio, uploader: Uploader) -> None:
    file = io.BytesIO(DATA)
    for position in (SIZE, SIZE + 1):
        file.seek(position)
        await refused(fake, uploader, file, "is empty")


async def test_a_closed_file_object(fake: FakeFrameio, uploader: Uploader) -> None:
    file = io.BytesIO(DATA)
    file.close()
    await refused(fake, uploader, file, "cannot be read")


@pytest.mark.parametrize("size", [SIZE - 1, SIZE + 1, -1])
async def test_another_size_than_declared(
    fake: FakeFrameio, uploader: Uploader, make_file: Callable[..., Path], size: int
) -> None:
    for source in (make_file(SIZE), DATA, io.BytesIO(DATA)):
        await refused(fake, uploader, source, f"has {SIZE} bytes, not {size} as declared", size=size)


# -- what fails on the way ---------------------------------------------------------------------------------------------


class Broken(io.BytesIO):
    """A file object that fails from the second part on, with an unusual error."""

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() >= PART:
            raise zipfile.BadZipFile("Bad CRC-32")
        return super().read(size)


class Textual(io.BytesIO):
    """A file object that returns text, as a wrapped text file does."""

    def read(self, size: int | None = -1, /) -> Any:
        return super().read(size).decode("latin-1")


@pytest.mark.parametrize(("source", "cause"), [(Broken, zipfile.BadZipFile), (Textual, TypeError)])
async def test_a_file_object_may_fail_in_any_way(
    fake: FakeFrameio, uploader: Uploader, source: type[io.BytesIO], cause: type[Exception]
) -> None:
    with pytest.raises(SourceError, match=f"cannot be read: .*{cause.__name__}") as caught:
        await send(fake, uploader, source(DATA))
    assert isinstance(caught.value.__cause__, cause)
    assert (fake.files, len(fake.deleted)) == ((), 1)
    assert sum(seen.operation == "create" for seen in fake.requests) == 1


async def test_a_file_object_that_is_closed_on_the_way(fake: FakeFrameio) -> None:
    fake.add_fault(hold := Fault(do="hold", number=1))
    file = io.BytesIO(DATA)
    async with uploader_on(fake, limits=Limits(parts=1, api_pacing=False)) as uploader:
        upload = uploader.upload(file, name="take.mov", folder_id=fake.folder_id).start()
        await reached(fake, hold)
        file.close()
        fake.release()
        with pytest.raises(SourceError, match="cannot be read"):
            await upload
    assert (fake.files, len(fake.deleted)) == ((), 1)


async def test_a_file_object_that_is_cut_short_on_the_way(fake: FakeFrameio) -> None:
    fake.add_fault(hold := Fault(do="hold", number=1))
    file = io.BytesIO(DATA)
    async with uploader_on(fake, limits=Limits(parts=1, api_pacing=False)) as uploader:
        upload = uploader.upload(file, name="take.mov", folder_id=fake.folder_id).start()
        await reached(fake, hold)
        file.truncate(PART + 10)
        fake.release()
        with pytest.raises(SourceError, match="bytes early"):
            await upload
    assert (fake.files, len(fake.deleted)) == ((), 1)


# -- what is opened is closed ------------------------------------------------------------------------------------------


async def test_one_descriptor_an_upload_and_none_afterwards(
    fake: FakeFrameio, uploader: Uploader, make_file: Callable[..., Path], tmp_path: Path
) -> None:
    fake.add_fault(hold := Fault(do="hold", times=None))
    async with AsyncExitStack() as stack:
        for name in ("a.mov", "b.mov"):
            await stack.enter_async_context(uploader.upload(make_file(SIZE, name), folder_id=fake.folder_id))
        await reached(fake, hold, 6)
        assert len(open_files(tmp_path)) == 2
        fake.release()
    assert open_files(tmp_path) == []


async def test_a_refused_upload_closes_its_file(
    fake: FakeFrameio, uploader: Uploader, make_file: Callable[..., Path], tmp_path: Path
) -> None:
    fake.add_fault(Fault(on="create", status=403, times=None))
    with pytest.raises(Exception, match="403"):
        await send(fake, uploader, make_file(SIZE))
    with pytest.raises(SourceError, match="as declared"):
        await send(fake, uploader, make_file(SIZE), size=1)
    assert open_files(tmp_path) == []


async def test_an_aiofiles_handle_stays_open(
    fake: FakeFrameio, uploader: Uploader, make_file: Callable[..., Path]
) -> None:
    async with aiofiles.open(make_file(SIZE), "rb") as file:
        await file.seek(100)
        assert await send(fake, uploader, file, name=None) == sha256(DATA[100:])
        assert (fake.files[0].name, file.closed) == ("take.mov", False)


async def test_a_file_object_that_was_planned_is_sent_from_the_same_position(
    fake: FakeFrameio, uploader: Uploader
) -> None:
    source = io.BytesIO(b"12345")
    source.seek(2)
    plan = await uploader.plan(source, name="a.mov", folder_id=fake.folder_id)
    await uploader.execute(plan, source)
    assert fake.files[0].sha256 == sha256(b"345")


async def test_a_network_share_that_disappears_while_its_file_is_opened_is_an_error(
    fake: FakeFrameio, uploader: Uploader, make_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, look_up = make_file(10), os.stat

    def stale(found: Any, **how: Any) -> os.stat_result:
        if isinstance(found, int):
            raise OSError(errno.ESTALE, "Stale file handle")
        return look_up(found, **how)

    monkeypatch.setattr(os, "stat", stale)
    with pytest.raises(SourceError, match=r"take\.mov: Stale file handle"):
        await uploader.upload(path, folder_id=fake.folder_id)
    assert open_files(path.parent) == []


async def pieces() -> AsyncIterator[bytes]:
    yield DATA


@pytest.mark.parametrize("make", [lambda: io.BytesIO(DATA), pieces], ids=["a file object", "a stream"])
async def test_what_two_uploads_would_read_at_once_is_refused_to_the_second(
    fake: FakeFrameio, uploader: Uploader, make: Callable[[], Any]
) -> None:
    source = make()
    fake.add_fault(hold := Fault(do="hold", times=None))
    upload = uploader.upload(source, name="a.mov", size=SIZE, folder_id=fake.folder_id).start()
    await reached(fake, hold)
    with pytest.raises(SourceError, match="is being read by another upload"):
        await uploader.upload(source, name="b.mov", size=SIZE, folder_id=fake.folder_id)
    fake.release()
    await upload
    assert [file.sha256 for file in fake.files] == [sha256(DATA)]


async def test_parts_of_one_file_object_are_not_sent_by_two_calls_at_once(
    fake: FakeFrameio, uploader: Uploader
) -> None:
    source = io.BytesIO(DATA)
    plan = await uploader.plan(source, name="a.mov", folder_id=fake.folder_id)
    calls = (uploader.send_parts(plan, source, [1]), uploader.send_parts(plan, source, [2, 3]))
    receipts, error = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(error, SourceError)
    assert isinstance(receipts, tuple)
    source.seek(0)
    assert len(await uploader.send_parts(plan, source, [2, 3])) == 2, "it is free again"
    await uploader.confirm(plan)
    assert fake.files[0].sha256 == sha256(DATA)

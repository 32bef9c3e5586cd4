"""A caller's file object is read at any offset if it is memory or a regular file, and otherwise in order."""

from __future__ import annotations

import asyncio
import gzip
import io
import os
import sys
import tempfile
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from aioframeio_upload import Limits, Part, SourceError, Timeouts, Uploader
from aioframeio_upload._io.fair_limiter import FairLimiter
from aioframeio_upload._io.files import ReadThreads
from aioframeio_upload._io.sources import open_source
from aioframeio_upload._io.spool import Spool
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import PART, on_disk, open_files, reached, sha256, some_bytes, uploader_on
from tests.support.seen import puts

SIZE = 5 * PART + 77
DATA = some_bytes(SIZE)


class Packed(io.BytesIO):
    """A file object that is slow to seek, as a compressed or a remote file is."""

    def __init__(self, data: bytes = DATA) -> None:
        super().__init__(data)
        self.jumps = self.measured = self.given = self.at = 0

    def seek(self, offset: int, whence: int = 0, /) -> int:
        self.jumps += whence == os.SEEK_SET and offset != self.at
        self.measured += whence == os.SEEK_END
        return super().seek(offset, whence)

    def read(self, size: int | None = -1, /) -> bytes:
        block = super().read(size)
        self.given += len(block)
        self.at = self.tell()
        return block


async def send(fake: FakeFrameio, uploader: Uploader, source: Any, **options: Any) -> str | None:
    """Upload a source under a given name, and return the digest of what arrived."""
    arguments: dict[str, Any] = {"name": "take.mov", "folder_id": fake.folder_id}
    await uploader.upload(source, **arguments | options)
    return fake.files[-1].sha256


# -- in order ----------------------------------------------------------------------------------------------------------


async def test_an_object_that_may_be_packed_is_read_once_and_in_order(fake: FakeFrameio, uploader: Uploader) -> None:
    source = Packed()
    assert await send(fake, uploader, source) == sha256(DATA)
    assert (source.jumps, source.given) == (0, SIZE)


async def test_its_end_is_not_looked_for_where_a_size_is_declared(fake: FakeFrameio, uploader: Uploader) -> None:
    source = Packed()
    assert await send(fake, uploader, source, size=SIZE) == sha256(DATA)
    assert (source.jumps, source.given, source.measured) == (0, SIZE, 0)


@pytest.mark.parametrize("size", [SIZE - 1, SIZE + 1])
async def test_a_wrong_size_leaves_no_file(fake: FakeFrameio, uploader: Uploader, size: int) -> None:
    with pytest.raises(SourceError, match=r"longer than the|1 byte early"):
        await send(fake, uploader, Packed(), size=size)
    assert fake.files == ()


async def test_a_part_is_sent_again_without_reading_it_again(fake: FakeFrameio, uploader: Uploader) -> None:
    for number in (1, 3, 6):
        fake.add_fault(Fault(number=number))
    source = Packed()
    assert await send(fake, uploader, source) == sha256(DATA)
    assert (source.jumps, source.given) == (0, SIZE)
    assert puts(fake) == {1: 2, 2: 1, 3: 2, 4: 1, 5: 1, 6: 2}


async def test_it_is_read_from_its_position(fake: FakeFrameio, uploader: Uploader) -> None:
    source = Packed()
    source.read(1000)
    assert await send(fake, uploader, source) == sha256(DATA[1000:])


async def test_a_new_plan_reads_the_file_object_from_its_beginning(tmp_path: Path) -> None:
    """Expired links are replaced, as for any source that can be read again; only then does it seek back."""
    file = Packed()
    file.read(10)
    threads = ReadThreads(2, 5)
    source = await open_source(file, None, threads, Spool(tmp_path, FairLimiter(2)))
    assert source.replayable
    for number in (1, 2, 1, 2):
        part = Part(number, 1000 * (number - 1), 1000, "")
        async with source.lend(part) as lent:
            read = bytes(await lent.read(0, memoryview(bytearray(1000))))
        assert read == DATA[10:][part.offset : part.offset + part.size]
    assert file.jumps == 1
    source.close()
    threads.shutdown(wait=False)


async def test_parts_of_it_are_sent_by_skipping_what_lies_before(fake: FakeFrameio, uploader: Uploader) -> None:
    source = Packed()
    plan = await uploader.plan(source, name="a.mov", folder_id=fake.folder_id)
    for numbers in ([2, 5], [1], [3, 4, 6]):
        source.seek(0)
        receipts = await uploader.send_parts(plan, source, numbers)
        assert [receipt.number for receipt in receipts] == numbers
    await uploader.confirm(plan)
    assert fake.files[0].sha256 == sha256(DATA)


def gzipped(path: Path) -> Any:
    path.write_bytes(gzip.compress(DATA, 1))
    return gzip.open(path)


def gzipped_and_buffered(path: Path) -> Any:
    return io.BufferedReader(gzipped(path))


def zipped(path: Path) -> Any:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("take.mov", DATA)
    with zipfile.ZipFile(path) as archive:
        return archive.open("take.mov")


@pytest.mark.parametrize("make", [gzipped, gzipped_and_buffered, zipped])
async def test_a_compressed_file_object_arrives_decompressed(
    fake: FakeFrameio, uploader: Uploader, tmp_path: Path, make: Callable[[Path], Any]
) -> None:
    """Each of them has the `fileno()` of the compressed file, or a buffer as a regular file has."""
    with on_disk(make, tmp_path / "packed") as source:
        assert await send(fake, uploader, source) == sha256(DATA)
        assert not source.closed


class Shouting(io.FileIO):
    """A file object that returns other bytes than its descriptor."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(-1 if size is None else size).upper()

    def readinto(self, buffer: Any, /) -> int:
        block = self.read(len(buffer))
        buffer[: len(block)] = block
        return len(block)


@pytest.mark.parametrize("wrap", [lambda raw: raw, io.BufferedReader], ids=["raw", "buffered"])
async def test_a_descriptor_is_not_believed_of_a_class_that_is_not_pythons_own(
    fake: FakeFrameio, uploader: Uploader, tmp_path: Path, wrap: Callable[[Any], Any]
) -> None:
    on_disk((tmp_path / "low").write_bytes, b"quiet" * 1000)
    with on_disk(lambda: wrap(Shouting(tmp_path / "low"))) as source:
        assert await send(fake, uploader, source) == sha256(b"QUIET" * 1000)


async def test_a_temporary_file_in_memory_stays_there(fake: FakeFrameio, uploader: Uploader) -> None:
    with tempfile.SpooledTemporaryFile(1 << 30) as source:
        source.write(DATA)
        source.seek(0)
        assert await send(fake, uploader, source) == sha256(DATA)
        assert not source._rolled  # type: ignore[attr-defined]


async def test_a_read_that_hangs_keeps_its_object_from_the_next_upload_until_it_is_over(fake: FakeFrameio) -> None:
    class Hanging(Packed):
        let_go, over = threading.Event(), threading.Event()

        def read(self, size: int | None = -1, /) -> bytes:
            self.let_go.wait(20)
            try:
                return super().read(size)
            finally:
                self.over.set()

    source = Hanging()
    async with uploader_on(fake, timeouts=Timeouts(stall=0.3)) as uploader:
        with pytest.raises(SourceError, match="does not answer") as caught:
            await send(fake, uploader, source)
        assert caught.value.is_away
        with pytest.raises(SourceError, match="is being read by another upload"):
            await send(fake, uploader, source)
        source.let_go.set()
        assert await asyncio.to_thread(source.over.wait, 20)
    async with uploader_on(fake) as uploader:
        source.seek(0)
        assert await send(fake, uploader, source) == sha256(DATA)


async def test_a_handle_of_a_packed_file_needs_a_size(fake: FakeFrameio, uploader: Uploader, tmp_path: Path) -> None:
    """Its `fileno()` is that of the compressed file too, which has another size."""
    with on_disk(gzipped, tmp_path / "packed") as packed:
        handle = anyio.wrap_file(packed)
        with pytest.raises(SourceError, match="needs size="):
            await send(fake, uploader, handle)
        assert await send(fake, uploader, handle, size=SIZE) == sha256(DATA)


async def test_the_size_of_an_anyio_handle_is_found(fake: FakeFrameio, uploader: Uploader, make_file: Any) -> None:
    async with await anyio.open_file(make_file(SIZE), "rb") as handle:
        await handle.seek(5)
        assert await send(fake, uploader, handle) == sha256(DATA[5:])


# -- true files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("buffering", [0, -1], ids=["raw", "buffered"])
async def test_a_true_file_is_read_where_it_lies_and_its_position_stays(
    fake: FakeFrameio, make_file: Callable[..., Path], tmp_path: Path, buffering: int
) -> None:
    path = make_file(SIZE)
    fake.add_fault(hold := Fault(do="hold", times=None))
    spool = tmp_path / "spool"
    on_disk(spool.mkdir)
    async with uploader_on(fake, spool_dir=spool) as uploader:
        with on_disk(lambda: path.open("rb", buffering=buffering)) as source:
            on_disk(source.read, 100)
            upload = uploader.upload(source, folder_id=fake.folder_id).start()
            await reached(fake, hold, 5)
            assert open_files(spool) == []
            fake.release()
            await upload
            assert (on_disk(source.tell), source.closed) == (100, False)
    assert fake.files[0].sha256 == sha256(DATA[100:])


@pytest.mark.skipif(sys.platform == "win32", reason="no pread: the caller's own object is read")
async def test_a_true_file_that_its_owner_closes_on_the_way_is_read_to_its_end(
    fake: FakeFrameio, make_file: Callable[..., Path], tmp_path: Path
) -> None:
    """Another file may get its number at once, whose bytes would then be sent."""
    path, other = make_file(SIZE), tmp_path / "other"
    on_disk(other.write_bytes, bytes(SIZE))
    fake.add_fault(hold := Fault(do="hold", number=1))
    async with uploader_on(fake, limits=Limits(parts=1, api_pacing=False)) as uploader:
        source = on_disk(lambda: path.open("rb"))
        upload = uploader.upload(source, folder_id=fake.folder_id).start()
        await reached(fake, hold)
        number = source.fileno()
        on_disk(source.close)
        with on_disk(lambda: other.open("rb")) as another:
            assert another.fileno() == number
            fake.release()
            await upload
    assert fake.files[0].sha256 == sha256(path)
    assert open_files(tmp_path) == []


async def test_what_was_written_and_not_flushed_is_sent(fake: FakeFrameio, uploader: Uploader, tmp_path: Path) -> None:
    with on_disk(lambda: (tmp_path / "a").open("w+b")) as source:
        on_disk(source.write, DATA)
        on_disk(source.seek, 0)
        on_disk(source.write, b"new")
        assert await send(fake, uploader, source) == sha256(DATA[3:])
    with on_disk(tempfile.NamedTemporaryFile, dir=tmp_path) as named:
        on_disk(named.write, DATA)
        on_disk(named.seek, 1)
        assert await send(fake, uploader, named) == sha256(DATA[1:])


async def test_a_file_that_is_open_for_writing_only_is_refused(
    fake: FakeFrameio, uploader: Uploader, tmp_path: Path
) -> None:
    with on_disk(lambda: (tmp_path / "a").open("wb", buffering=0)) as source:
        on_disk(source.write, b"x")
        on_disk(source.seek, 0)
        with pytest.raises(SourceError, match="not open for reading"):
            await send(fake, uploader, source)
    assert fake.requests == []

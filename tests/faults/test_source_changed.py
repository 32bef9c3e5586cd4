"""A file that changes while it is sent: there is no finished file at Frame.io, and the placeholder is deleted."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from aioframeio_upload import Limits, SourceChanged
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import PART, on_disk, open_files, reached, sha256, some_bytes, uploader_on

SIZE = 3 * PART
ONE_AT_A_TIME = Limits(parts=1, api_pacing=False)


def touch(path: Path) -> None:
    found = path.stat()
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns + 1))


def rewrite(path: Path) -> None:
    path.write_bytes(some_bytes(SIZE))
    touch(path)


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x")


def truncate(path: Path) -> None:
    os.truncate(path, SIZE - 1)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(some_bytes(SIZE))
    other.replace(path)


def become_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


WAYS = [touch, rewrite, grow, truncate, empty, replace, become_a_folder]


@pytest.mark.parametrize("number", [1, 2, 3], ids=["first part", "second part", "last part"])
@pytest.mark.parametrize("change", WAYS)
async def test_a_change_is_detected_before_the_next_part_or_at_the_end(
    fake: FakeFrameio, make_file: Callable[..., Path], tmp_path: Path, change: Callable[[Path], None], number: int
) -> None:
    fake.add_fault(hold := Fault(do="hold", number=number))
    path = make_file(SIZE)
    async with uploader_on(fake, limits=ONE_AT_A_TIME) as uploader:
        upload = uploader.upload(path, folder_id=fake.folder_id).start()
        await reached(fake, hold)
        on_disk(change, path)
        fake.release()
        with pytest.raises(SourceChanged) as caught:
            await upload
        assert open_files(tmp_path) == []
    assert caught.value.path == str(path)
    assert (fake.files, len(fake.deleted)) == ((), 1)
    assert sum(seen.operation == "part" for seen in fake.requests) == number


async def test_a_file_that_shrinks_during_a_part_is_detected_by_that_part(make_file: Callable[..., Path]) -> None:
    """The sizes are chosen so that the sockets' buffers cannot hold what the fake does not read."""
    size = 64 * PART
    stall = Fault(do="stall", after=1000)
    path = make_file(10)
    on_disk(os.truncate, path, size)
    async with FakeFrameio(rate_limits=False, part_size=size, store=False, faults=[stall]) as wide:
        async with uploader_on(wide) as uploader:
            upload = uploader.upload(path, folder_id=wide.folder_id).start()
            await reached(wide, stall)
            on_disk(os.truncate, path, 1 << 16)
            wide.release()
            with pytest.raises(SourceChanged, match="bytes early"):
                await upload
        assert (wide.files, len(wide.deleted)) == ((), 1)
        assert sum(seen.operation == "part" for seen in wide.requests) == 1


async def test_a_change_before_a_retry_is_detected(fake: FakeFrameio, make_file: Callable[..., Path]) -> None:
    fake.add_fault(busy := Fault(headers={"Retry-After": "0.2"}))
    path = make_file(PART)
    async with uploader_on(fake) as uploader:
        upload = uploader.upload(path, folder_id=fake.folder_id).start()
        await reached(fake, busy)
        on_disk(rewrite, path)
        with pytest.raises(SourceChanged):
            await upload
    assert sum(seen.operation == "part" for seen in fake.requests) == 1


async def test_a_change_before_the_upload_starts_does_not_matter(
    fake: FakeFrameio, make_file: Callable[..., Path]
) -> None:
    path = make_file(10)
    async with uploader_on(fake) as uploader:
        upload = uploader.upload(path, folder_id=fake.folder_id)
        on_disk(path.write_bytes, b"other bytes")
        await upload
    assert fake.files[0].sha256 == sha256(b"other bytes")


# -- the same size and time of change, and another ctime ---------------------------------------------------------------


def chmod(path: Path) -> None:
    path.chmod(0o640)


def link(path: Path) -> None:
    path.with_name("link").hardlink_to(path)


def rename_and_back(path: Path) -> None:
    path.rename(path.with_name("other"))
    path.with_name("other").rename(path)


def put_time_back(path: Path) -> None:
    found = path.stat()
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


@pytest.mark.parametrize("journal", [True, False], ids=["journal", "no journal"])
@pytest.mark.parametrize("touch", [chmod, link, rename_and_back, put_time_back])
async def test_changes_that_leave_the_bytes_alone_do_not_matter(
    fake: FakeFrameio, make_file: Callable[..., Path], tmp_path: Path, touch: Callable[[Path], None], journal: bool
) -> None:
    fake.add_fault(hold := Fault(do="hold", number=1))
    path = make_file(SIZE)
    async with uploader_on(fake, limits=ONE_AT_A_TIME, journal=tmp_path / "j" if journal else None) as uploader:
        upload = uploader.upload(path, folder_id=fake.folder_id).start()
        await reached(fake, hold)
        on_disk(touch, path)
        fake.release(hold)
        await upload
    assert fake.files[0].sha256 == sha256(path)


@pytest.mark.skipif(sys.platform == "win32", reason="its st_ctime is the time of creation")
@pytest.mark.parametrize("at", [0, SIZE - 1], ids=["at its start", "at its end"])
async def test_a_writer_that_restores_the_time_of_change_is_detected(
    fake: FakeFrameio, make_file: Callable[..., Path], at: int
) -> None:
    """`rsync --times --inplace` and some renderers do this."""
    fake.add_fault(hold := Fault(do="hold", number=1))
    path = make_file(SIZE)

    def rewrite_in_silence() -> None:
        found = path.stat()
        with path.open("r+b") as file:
            file.seek(at)
            file.write(b"?")
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))

    async with uploader_on(fake, limits=ONE_AT_A_TIME) as uploader:
        upload = uploader.upload(path, folder_id=fake.folder_id).start()
        await reached(fake, hold)
        on_disk(rewrite_in_silence)
        fake.release(hold)
        with pytest.raises(SourceChanged, match="its time put back"):
            await upload
    assert (fake.files, len(fake.deleted)) == ((), 1)

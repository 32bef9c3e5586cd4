"""A stream is spooled a part at a time, so that it can be sent again, and has exactly the declared length."""

from __future__ import annotations

import asyncio
import io
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.base_protocol import BaseProtocol

from aioframeio_upload import ApiError, Limits, PartError, PartRetrying, SourceError, UploadCancelled, Uploader
from aioframeio_upload._io.spool import default_directory
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import PART, on_disk, open_descriptors, open_files, reached, sha256, some_bytes, uploader_on

SIZE = 2 * PART + 77
DATA = some_bytes(SIZE)


async def chunks(data: bytes, *sizes: int) -> AsyncIterator[bytes]:
    """Yield the bytes in chunks of these sizes, and the rest in one."""
    for size in sizes:
        yield data[:size]
        data = data[size:]
    yield data


@pytest.fixture
async def spooling(fake: FakeFrameio, tmp_path: Path) -> AsyncIterator[Uploader]:
    async with uploader_on(fake, spool_dir=tmp_path, limits=Limits(parts=2, api_pacing=False)) as uploader:
        yield uploader
        assert open_files(tmp_path) == []
        assert on_disk(os.listdir, tmp_path) == []


async def send(fake: FakeFrameio, uploader: Uploader, stream: Any, size: int | None = SIZE) -> str | None:
    await uploader.upload(stream, name="take.mov", size=size, folder_id=fake.folder_id)
    return fake.files[-1].sha256


@pytest.mark.parametrize(
    "sizes",
    [(), (SIZE,), (1, 2, 3, 0, 0, 100), (PART,), (PART, PART), (PART - 1, 2), (2 * PART + 1, 0), (65536,) * 32],
    ids=["whole", "whole and empty", "odd", "part", "parts", "across", "larger than a part", "even"],
)
async def test_an_async_generator_may_yield_chunks_of_any_size(
    fake: FakeFrameio, spooling: Uploader, sizes: tuple[int, ...]
) -> None:
    assert await send(fake, spooling, chunks(DATA, *sizes)) == sha256(DATA)


async def test_chunks_may_be_bytearrays_and_memoryviews(fake: FakeFrameio, spooling: Uploader) -> None:
    async def views() -> AsyncIterator[Any]:
        yield bytearray(DATA[:1000])
        yield memoryview(DATA)[1000:]

    assert await send(fake, spooling, views()) == sha256(DATA)


async def test_an_aiohttp_stream_reader(fake: FakeFrameio, spooling: Uploader) -> None:
    """Like the body of a request or an answer; iterating it would yield lines."""
    reader = aiohttp.StreamReader(BaseProtocol(asyncio.get_running_loop()), 1 << 26, loop=asyncio.get_running_loop())
    for start in range(0, SIZE, 100_000):
        reader.feed_data(DATA[start : start + 100_000])
    reader.feed_eof()
    assert await send(fake, spooling, reader) == sha256(DATA)


class UploadFile:
    """Like Starlette's: `size`, `filename`, and an async `read` of a file."""

    def __init__(self, data: bytes, filename: str | None, size: int | None) -> None:
        self.filename, self.size = filename, size
        self._data = data

    async def read(self, size: int = -1) -> bytes:
        block, self._data = self._data[:size], self._data[size:]
        return block


async def test_the_name_and_size_of_a_web_frameworks_upload_file_are_found(
    fake: FakeFrameio, spooling: Uploader
) -> None:
    await spooling.upload(UploadFile(DATA, "C:\\clips\\take 7.mov", SIZE), folder_id=fake.folder_id)
    assert (fake.files[0].name, fake.files[0].sha256) == ("take 7.mov", sha256(DATA))


@pytest.fixture
def pipe() -> Iterator[tuple[Any, Any]]:
    reading, writing = os.pipe()
    with open(reading, "rb") as reader, open(writing, "wb") as writer:
        yield reader, writer


async def test_a_pipe(fake: FakeFrameio, spooling: Uploader, pipe: tuple[Any, Any]) -> None:
    reader, writer = pipe

    def write() -> None:
        writer.write(DATA)
        writer.close()

    writing = asyncio.get_running_loop().run_in_executor(None, write)
    assert await send(fake, spooling, reader) == sha256(DATA)
    await writing
    assert not reader.closed


async def test_a_part_is_sent_again_from_the_spool(fake: FakeFrameio, spooling: Uploader) -> None:
    for number in (1, 2, 3):
        fake.add_fault(Fault(number=number))
    upload = spooling.upload(chunks(DATA, 1000), name="take.mov", size=SIZE, folder_id=fake.folder_id)
    events = [event async for event in upload]
    assert sum(isinstance(event, PartRetrying) for event in events) == 3
    assert fake.files[0].sha256 == sha256(DATA)
    assert upload.result.size == SIZE


async def test_no_more_parts_are_spooled_than_are_sent(fake: FakeFrameio, spooling: Uploader, tmp_path: Path) -> None:
    """The limit is for all streams together, so that ten thousand of them do not fill the disk."""
    fake.add_fault(hold := Fault(do="hold", times=None))
    uploads = [
        spooling.upload(chunks(DATA), name="take.mov", size=SIZE, folder_id=fake.folder_id).start() for _ in range(5)
    ]
    most = 0
    await reached(fake, hold, 2)
    fake.release()
    for upload in uploads:
        async for _ in upload:
            most = max(most, len(open_files(tmp_path)))
    assert most == 2
    assert [file.sha256 for file in fake.files] == [sha256(DATA)] * 5


async def test_slow_streams_do_not_hold_up_another(fake: FakeFrameio) -> None:
    """As the bodies that a web server gets from clients behind a slow line."""
    told = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield DATA[:10]
        await told.wait()
        yield DATA[10:]

    async with uploader_on(fake) as uploader:
        assert uploader.statistics().slots < 12
        slows = [
            uploader.upload(slow(), name=f"slow-{number}", size=SIZE, folder_id=fake.folder_id).start()
            for number in range(12)
        ]
        for upload in slows:
            await upload.planned()
        try:
            async with asyncio.timeout(20):
                file = await uploader.upload(chunks(DATA), name="quick", size=SIZE, folder_id=fake.folder_id)
            assert not any(upload.done for upload in slows)
        finally:
            told.set()
        assert [(await upload).outcome for upload in slows] == ["uploaded"] * 12
    assert {found.sha256 for found in fake.files} == {sha256(DATA)}
    assert file.size == SIZE


# -- streams that are not what they should be --------------------------------------------------------------------------


async def failing(*, after: int) -> AsyncIterator[bytes]:
    yield DATA[:after]
    raise RuntimeError("the camera was unplugged")


async def text() -> AsyncIterator[Any]:
    yield "a" * SIZE


async def numbers() -> AsyncIterator[Any]:
    yield [1, 2, 3]


@pytest.mark.parametrize(
    ("stream", "match"),
    [
        (lambda: chunks(DATA[:-1]), "ended 1 byte early"),
        (lambda: chunks(DATA[:PART]), f"ended {SIZE - PART} bytes early"),
        (lambda: chunks(b""), f"ended {SIZE} bytes early"),
        (lambda: chunks(DATA + b"x"), "longer than the"),
        (lambda: chunks(DATA + b"x", SIZE), "longer than the"),
        (lambda: chunks(DATA + DATA, SIZE, 0, 0), "longer than the"),
        (lambda: failing(after=10), "RuntimeError"),
        (lambda: failing(after=SIZE - 1), "RuntimeError"),
        (lambda: failing(after=SIZE), "RuntimeError"),
        (text, "take.mov: the stream cannot be read: TypeError: chunks must be bytes, not str; correct"),
        (numbers, "chunks must be bytes, not list"),
    ],
)
async def test_a_stream_that_is_not_what_was_declared_leaves_no_file(
    fake: FakeFrameio, spooling: Uploader, stream: Callable[[], Any], match: str
) -> None:
    with pytest.raises(SourceError, match=match):
        await send(fake, spooling, stream())
    assert (fake.files, len(fake.deleted)) == ((), 1)
    assert not fake.deleted[0].complete


async def test_what_a_stream_raised_is_told_and_is_the_cause(fake: FakeFrameio, spooling: Uploader) -> None:
    with pytest.raises(SourceError) as caught:
        await send(fake, spooling, failing(after=PART))
    assert str(caught.value.__cause__) == "the camera was unplugged"
    reason = "the stream cannot be read: RuntimeError: the camera was unplugged"
    assert str(caught.value) == f"take.mov: {reason}; correct what makes the stream, then upload a new one"
    assert caught.value.to_dict() == {
        "type": "SourceError",
        "message": str(caught.value),
        "path": None,
        "reason": reason,
        "is_away": False,
    }


class ClientDisconnect(Exception):
    """Derived from `Exception` alone, as Starlette's is."""


class RenderError(ValueError):
    """An exception of a program's own."""


@pytest.mark.parametrize(
    ("error", "reason", "is_away"),
    [
        (ClientDisconnect(), "ClientDisconnect", True),
        (ConnectionResetError("Cannot write to closing transport"), "ConnectionResetError: Cannot write to", True),
        (TimeoutError(), "TimeoutError", True),
        (asyncio.IncompleteReadError(b"", 5), "IncompleteReadError: 0 bytes read on a total of 5", True),
        (aiohttp.ClientPayloadError("Response payload is not completed"), "ClientPayloadError: Response pay", True),
        (ExceptionGroup("unhandled errors", [ClientDisconnect("gone")]), "ClientDisconnect: gone", True),
        (ExceptionGroup("unhandled errors", [OSError("gone"), KeyError("a")]), "OSError: gone; KeyError: 'a'", False),
        (RenderError("ffmpeg: exit status 1"), "RenderError: ffmpeg: exit status 1", False),
        (KeyError("frame"), "KeyError: 'frame'", False),
        (ValueError("two\nlines"), r"ValueError: two\nlines", False),
        (ValueError("x" * 5000), "ValueError: " + "x" * 900, False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
async def test_what_a_stream_raised_shows_whether_its_sender_is_gone_or_it_is_broken(
    fake: FakeFrameio, spooling: Uploader, error: Exception, reason: str, is_away: bool
) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield DATA[:PART]
        raise error

    with pytest.raises(SourceError) as caught:
        await send(fake, spooling, body())
    assert caught.value.reason.startswith(f"the stream cannot be read: {reason}")
    assert caught.value.is_away is is_away
    assert (len(caught.value.reason) < 1100, "\n" in str(caught.value)) == (True, False)
    assert (fake.files, len(fake.deleted)) == ((), 1)


async def test_no_link_or_token_in_what_a_stream_raised_is_told(fake: FakeFrameio, spooling: Uploader) -> None:
    link = "https://bucket.s3.amazonaws.com/take.mov?X-Amz-Signature=0123456789abcdef0123456789abcdef"

    async def body() -> AsyncIterator[bytes]:
        yield DATA[:PART]
        raise ValueError(f"GET {link} with Authorization: Bearer {fake.token}: 403")

    with pytest.raises(SourceError, match="ValueError: GET … with Authorization: …") as caught:
        await send(fake, spooling, body())
    told = f"{caught.value} {caught.value.to_dict()}"
    assert not any(secret in told for secret in ("X-Amz", "0123456789abcdef", fake.token))


@pytest.mark.parametrize(
    ("stream", "size", "match"),
    [
        (lambda: chunks(DATA), None, "needs size="),
        (lambda: UploadFile(DATA, "x", None), None, "needs size="),
        (lambda: chunks(DATA), 0, "is empty"),
        (lambda: UploadFile(b"", "x", 0), None, "is empty"),
        (lambda: chunks(DATA), -1, "is empty"),
    ],
)
async def test_a_stream_without_a_size_is_refused_before_frame_io_hears_of_it(
    fake: FakeFrameio, spooling: Uploader, stream: Callable[[], Any], size: int | None, match: str
) -> None:
    with pytest.raises(SourceError, match=match):
        await send(fake, spooling, stream(), size)
    assert fake.requests == []


async def test_a_cancelled_stream_is_not_read_any_more(fake: FakeFrameio, spooling: Uploader, tmp_path: Path) -> None:
    waiting, stopped = asyncio.Event(), asyncio.Event()

    async def live() -> AsyncIterator[bytes]:
        yield DATA[: PART + 10]
        waiting.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    upload = spooling.upload(live(), name="take.mov", size=SIZE, folder_id=fake.folder_id).start()
    async with asyncio.timeout(5):
        await waiting.wait()
        upload.cancel()
        with pytest.raises(UploadCancelled):
            await upload
    assert stopped.is_set()
    assert open_files(tmp_path) == []
    assert fake.files == ()


async def test_no_generator_of_ours_outlives_a_cancelled_stream(fake: FakeFrameio, spooling: Uploader) -> None:
    """An abandoned generator is closed by the garbage collector, in a task without an owner."""

    class Live:
        def __aiter__(self) -> Live:
            return self

        async def __anext__(self) -> bytes:
            return DATA[:PART]

    fake.add_fault(held := Fault(do="hold", times=None))
    begun: list[Any] = []
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(firstiter=begun.append)
    try:
        upload = spooling.upload(Live(), name="take.mov", size=SIZE, folder_id=fake.folder_id).start()
        await reached(fake, held, 2)  # two parts are read, and the third waits for its place
        upload.cancel()
        with pytest.raises(UploadCancelled):
            await upload
    finally:
        sys.set_asyncgen_hooks(*hooks)
    assert begun, "nothing was seen"
    assert [generator for generator in begun if generator.ag_frame is not None] == []


# -- what is closed at the end -----------------------------------------------------------------------------------------


class Watched:
    """A generator that is at a `yield` for most of the time, and tells whether its `finally` has run."""

    def __init__(self, size: int, last_words: Callable[[], Any] = lambda: None) -> None:
        self.size, self.last_words = size, last_words
        self.is_closed = False

    async def pieces(self) -> AsyncIterator[bytes]:
        try:
            left = self.size
            while left:
                yield bytes(min(left, 1000))
                left -= min(left, 1000)
        finally:
            found = self.last_words()
            if found is not None:
                await found
            self.is_closed = True

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self.pieces()


@pytest.mark.parametrize("kind", ["generator", "iterable"])
@pytest.mark.parametrize("size", [SIZE, SIZE + 5000, SIZE - 1])
async def test_a_generator_is_closed_when_its_upload_ends(
    fake: FakeFrameio, spooling: Uploader, kind: str, size: int
) -> None:
    watched = Watched(size)
    stream = watched if kind == "iterable" else watched.pieces()
    result = await asyncio.gather(send(fake, spooling, stream), return_exceptions=True)
    assert isinstance(result[0], SourceError) == (size != SIZE)
    assert watched.is_closed


@pytest.mark.parametrize("how", ["cancel", "task", "block", "shutdown", "refused"])
async def test_a_generator_that_waits_for_its_upload_is_closed_however_that_ends(
    fake: FakeFrameio, spooling: Uploader, how: str
) -> None:
    """It waits at a `yield`, where no cancellation reaches it, while its parts are with S3."""
    watched = Watched(SIZE)
    fault = Fault(do="hold", times=None) if how != "refused" else Fault(status=403, code="AccessDenied", times=None)
    fake.add_fault(fault)
    upload = spooling.upload(watched.pieces(), name="take.mov", size=SIZE, folder_id=fake.folder_id).start()
    if how == "refused":
        with pytest.raises(PartError):
            await upload
    else:
        await reached(fake, fault, 2)
        if how == "shutdown":
            await spooling.shutdown(grace=0)
        elif how == "cancel":
            upload.cancel()
            await asyncio.gather(upload, return_exceptions=True)
        elif how == "task":
            task = asyncio.ensure_future(upload)
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
        else:
            with pytest.raises(KeyError):
                async with upload:
                    raise KeyError
    assert watched.is_closed


async def test_a_deletion_that_hangs_does_not_keep_a_generator_from_being_closed(
    fake: FakeFrameio, spooling: Uploader
) -> None:
    watched = Watched(SIZE)
    fake.add_fault(hold := Fault(do="hold", times=None))
    fake.add_fault(Fault(on="delete", do="hold", times=None))
    upload = spooling.upload(watched.pieces(), name="take.mov", size=SIZE, folder_id=fake.folder_id).start()
    await reached(fake, hold, 2)
    upload.cancel()
    with pytest.raises(UploadCancelled):
        await upload
    assert watched.is_closed
    fake.release()


async def test_the_parts_of_a_stream_close_it_too(fake: FakeFrameio, spooling: Uploader) -> None:
    plan = await spooling.plan(DATA, name="take.mov", folder_id=fake.folder_id)
    watched = Watched(SIZE)
    with pytest.raises(SourceError, match="longer than"):
        await spooling.send_parts(plan, watched.pieces(), [1])
    assert watched.is_closed


async def test_a_generator_that_was_not_read_can_be_sent_by_the_next_upload(
    fake: FakeFrameio, spooling: Uploader
) -> None:
    pieces = Watched(SIZE).pieces()
    with pytest.raises(ApiError):
        await spooling.upload(pieces, name="take.mov", size=SIZE, folder_id="nowhere")
    assert await send(fake, spooling, pieces) == sha256(bytes(SIZE))


async def test_what_belongs_to_the_caller_is_not_closed(fake: FakeFrameio, spooling: Uploader) -> None:
    class Lines(io.BytesIO):
        """A subclass, so that it is read in order."""

    class Channel:
        """An iterator with an `aclose` of its own, as a channel between tasks has."""

        def __init__(self) -> None:
            self.pieces = [DATA, b"more"]
            self.is_closed = False

        def __aiter__(self) -> Channel:
            return self

        async def __anext__(self) -> bytes:
            return self.pieces.pop(0)

        async def aclose(self) -> None:
            self.is_closed = True

    reader = aiohttp.StreamReader(BaseProtocol(asyncio.get_running_loop()), 1 << 26, loop=asyncio.get_running_loop())
    reader.feed_data(DATA + b"more")
    channel, lines = Channel(), Lines(DATA)
    for stream in (reader, channel):
        with pytest.raises(SourceError, match="longer than"):
            await send(fake, spooling, stream)
    assert await send(fake, spooling, lines) == sha256(DATA)
    reader.feed_eof()
    assert (lines.closed, channel.is_closed, reader.exception()) == (False, False, None)


async def test_what_a_generator_raises_at_its_end_is_logged_and_changes_nothing(
    fake: FakeFrameio, spooling: Uploader, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise OSError("the pipe of https://user:secret@host/ is broken")

    with pytest.raises(SourceError, match="longer than"):
        await send(fake, spooling, Watched(SIZE + 5000, fail).pieces())
    assert "take.mov: the generator failed when it was closed: OSError: the pipe of … is broken" in caplog.text


async def test_a_generator_that_hangs_at_its_end_does_not_hold_up_a_cancelled_upload(
    fake: FakeFrameio, spooling: Uploader, caplog: pytest.LogCaptureFixture
) -> None:
    fake.add_fault(hold := Fault(do="hold", times=None))
    watched = Watched(SIZE, lambda: asyncio.Event().wait())
    upload = spooling.upload(watched.pieces(), name="take.mov", size=SIZE, folder_id=fake.folder_id).start()
    await reached(fake, hold, 2)
    upload.cancel()
    async with asyncio.timeout(20):
        with pytest.raises(UploadCancelled):
            await upload
    assert "take.mov: the generator did not end in time after the upload, and was cancelled" in caplog.text
    assert not watched.is_closed


# -- the disk ----------------------------------------------------------------------------------------------------------


async def test_a_spool_directory_that_is_not_there(fake: FakeFrameio, tmp_path: Path) -> None:
    async with uploader_on(fake, spool_dir=tmp_path / "none") as uploader:
        with pytest.raises(SourceError, match="cannot be spooled to: No such file") as caught:
            await send(fake, uploader, chunks(DATA))
    assert caught.value.path == str(tmp_path / "none")
    assert (fake.files, len(fake.deleted)) == ((), 1)


@pytest.mark.skipif(sys.platform == "win32", reason="no limits on the size of files")
async def test_a_full_disk(tmp_path: Path) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    async with (
        FakeFrameio(rate_limits=False, part_size=PART, store=False) as fake,
        uploader_on(fake, spool_dir=tmp_path) as uploader,
    ):
        resource.setrlimit(resource.RLIMIT_FSIZE, (PART // 2, before[1]))
        try:
            with pytest.raises(SourceError, match="cannot spool part 1: File too large"):
                await send(fake, uploader, chunks(DATA))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert open_files(tmp_path) == []
        assert (fake.files, len(fake.deleted)) == ((), 1)


async def test_a_stream_whose_own_task_was_cancelled_has_not_ended(fake: FakeFrameio, spooling: Uploader) -> None:
    """Passed on, its `CancelledError` would end our own worker, which counts as success."""

    async def cut() -> AsyncIterator[bytes]:
        yield DATA[: PART + 5]
        producer = asyncio.create_task(asyncio.Event().wait())
        asyncio.get_running_loop().call_soon(producer.cancel)
        await producer

    with pytest.raises(SourceError, match="was cancelled; upload it again; a web server"):
        await send(fake, spooling, cut())
    assert (fake.files, len(fake.deleted)) == ((), 1)


async def test_a_stream_that_cancels_the_task_that_reads_it_is_no_success(
    fake: FakeFrameio, spooling: Uploader
) -> None:
    async def cutting() -> AsyncIterator[bytes]:
        yield DATA[: PART + 5]
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.Event().wait()

    with pytest.raises(PartError, match="was cancelled, and not by its upload"):
        await send(fake, spooling, cutting())
    assert (fake.files, len(fake.deleted)) == ((), 1)


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="only Linux tells what is in memory")
def test_the_default_directory_is_not_one_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/dev/shm")
    assert default_directory() == "/var/tmp"


def test_the_default_directory_is_the_usual_one_where_that_is_on_disk(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert default_directory() == str(tmp_path)


async def test_the_default_directory_is_where_a_stream_waits(
    fake: FakeFrameio, uploader: Uploader, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    fake.add_fault(hold := Fault(do="hold"))
    async with uploader.upload(chunks(DATA), name="take.mov", size=SIZE, folder_id=fake.folder_id):
        await reached(fake, hold)
        assert any(target.startswith(str(on_disk(tmp_path.resolve))) for target in open_descriptors().values())
        fake.release()

"""If the caller's code raises a cancellation of something else, the upload fails with an error."""

from __future__ import annotations

import asyncio
import concurrent.futures
import io
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import aiohttp.abc
import pytest

from aioframeio_upload import (
    ApiError,
    AsyncFrameioUploader,
    AuthenticationError,
    FolderUploadError,
    Limits,
    RetryPolicy,
    SourceError,
    Uploader,
    UploadError,
)
from aioframeio_upload._io.files import in_thread
from aioframeio_upload.testing import FakeFrameio
from tests.conftest import PART, on_disk, some_bytes, uploader_on

SIZE = 2 * PART + 7


def uploader_with(token: Any, fake: FakeFrameio) -> Uploader:
    return Uploader(token, account_id=fake.account_id, base_url=fake.url, limits=Limits(api_pacing=False))


class SharedRefresh:
    """A token that several callers await in one task, which is cancelled every time, or `times` times."""

    def __init__(self, token: str, times: int | None = None) -> None:
        self.token, self.times = token, times

    async def __call__(self) -> str:
        if self.times == 0:
            return self.token
        if self.times is not None:
            self.times -= 1
        refreshing = asyncio.ensure_future(asyncio.Event().wait())
        asyncio.get_running_loop().call_soon(refreshing.cancel)
        await refreshing
        raise AssertionError("it was cancelled")


def cancelled_in_a_thread() -> str:
    future: concurrent.futures.Future[str] = concurrent.futures.Future()
    future.cancel()
    return future.result()


def raised_in_a_thread() -> str:
    raise asyncio.CancelledError


async def raised_in_the_loop() -> str:
    raise asyncio.CancelledError


WAYS: dict[str, Callable[[str], Any]] = {
    "a shared task": SharedRefresh,
    "a future in a thread": lambda _: cancelled_in_a_thread,
    "raised in a thread": lambda _: raised_in_a_thread,
    "raised in the loop": lambda _: raised_in_the_loop,
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
async def test_a_token_callable_whose_own_task_was_cancelled_fails_the_upload(fake: FakeFrameio, way: Any) -> None:
    async with uploader_with(way(fake.token), fake) as uploader:
        with pytest.raises(AuthenticationError, match="returned none: what it waited for was cancelled"):
            await uploader.upload(b"x", name="a", folder_id=fake.folder_id)
        with pytest.raises(AuthenticationError):
            await uploader.plan(b"x", name="a", folder_id=fake.folder_id)
    assert fake.requests == []


async def test_a_task_group_hears_of_every_upload_that_such_a_token_has_stopped(fake: FakeFrameio) -> None:
    async with uploader_with(SharedRefresh(fake.token), fake) as uploader:

        async def send_all() -> None:
            async with asyncio.TaskGroup() as group:
                for number in range(3):
                    group.create_task(uploader.upload(b"x", name=str(number), folder_id=fake.folder_id))

        with pytest.raises(ExceptionGroup) as caught:
            await send_all()
    assert {type(error) for error in caught.value.exceptions} == {AuthenticationError}


async def test_a_folder_reports_the_file_that_such_a_token_has_stopped(fake: FakeFrameio, tmp_path: Path) -> None:
    for number in range(6):
        on_disk((tmp_path / f"{number}.mov").write_bytes, b"x")
    token = SharedRefresh(fake.token, times=0)
    async with uploader_with(token, fake) as uploader:
        folder = uploader.upload_folder(tmp_path, folder_id=fake.folder_id, conflict="create", contents_only=True)
        await folder.planned()
        token.times = 2  # for the question whether the account has room, which stops nothing, and for one file
        with pytest.raises(FolderUploadError) as caught:
            await folder
    result = caught.value.result
    assert (len(result.files), len(result.failures)) == (5, 1)
    assert isinstance(result.failures[0].error, AuthenticationError)


async def test_our_own_cancellation_while_the_token_is_awaited_is_a_cancellation(fake: FakeFrameio) -> None:
    asked = asyncio.Event()

    async def hanging() -> str:
        asked.set()
        await asyncio.Event().wait()
        return fake.token

    async with uploader_with(hanging, fake) as uploader:
        task = asyncio.ensure_future(uploader.upload(b"x", name="a", folder_id=fake.folder_id))
        await asked.wait()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        asked.clear()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await uploader.status("f")


class CancelledReads(io.RawIOBase):
    """A file object whose reads await something that was cancelled."""

    def read(self, size: int = -1, /) -> bytes:
        cancelled_in_a_thread()
        return b""

    def readable(self) -> bool:
        return True


class CancelledSeeks(CancelledReads):
    def seekable(self) -> bool:
        raise asyncio.CancelledError


@pytest.mark.parametrize("source", [CancelledReads, CancelledSeeks])
async def test_a_file_object_that_ends_in_a_cancellation_is_a_source_error(
    fake: FakeFrameio, uploader: Uploader, source: Callable[[], Any]
) -> None:
    with pytest.raises(SourceError, match="cannot be read"):
        await uploader.upload(source(), name="a", size=SIZE, folder_id=fake.folder_id)
    assert fake.files == ()


class CancelledResolver(aiohttp.abc.AbstractResolver):
    """A caller's resolver whose look-ups await something that was cancelled, every time or `times` times."""

    def __init__(self, times: int | None = None) -> None:
        self.times = times

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> Any:
        if self.times is None or self.times > 0:
            self.times = None if self.times is None else self.times - 1
            await raised_in_the_loop()
        found = {"hostname": host, "host": "127.0.0.1", "port": port, "family": family, "proto": 0, "flags": 0}
        return [found]

    async def close(self) -> None:
        pass


async def through(resolver: CancelledResolver, fake: FakeFrameio) -> asyncio.Task[Any]:
    """Upload through a connector with that resolver in a task, and return the task when it is done."""
    url = fake.url.replace("127.0.0.1", "frame.test")
    connector = aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False)
    how: dict[str, Any] = {"account_id": fake.account_id, "base_url": url, "retry": RetryPolicy(3, 0.01, 0.01, 0.05)}
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        Uploader(fake.token, session=session, **how) as uploader,
    ):
        task = asyncio.ensure_future(uploader.upload(b"x", name="a", folder_id=fake.folder_id))
        await asyncio.wait([task])
    return task


async def test_a_cancellation_in_a_callers_connector_fails_the_upload(fake: FakeFrameio) -> None:
    task = await through(CancelledResolver(), fake)
    assert not task.cancelled()
    assert isinstance(task.exception(), ApiError)
    assert "what the connection waited for was cancelled" in str(task.exception())


async def test_one_that_passes_is_tried_again_as_a_broken_connection(fake: FakeFrameio) -> None:
    task = await through(CancelledResolver(times=1), fake)
    assert task.result().name == "a"


async def test_a_callback_that_ends_in_a_cancellation_ends_the_upload_with_an_error(fake: FakeFrameio) -> None:
    def on_progress(sent: int, total: int) -> None:
        raise asyncio.CancelledError

    async with uploader_on(fake) as uploader:
        plan = await uploader.plan(some_bytes(SIZE), name="a", folder_id=fake.folder_id)
    asset = {
        "id": plan.file_id,
        "name": plan.name,
        "file_size": plan.size,
        "media_type": plan.media_type,
        "upload_urls": [{"size": part.size, "url": part.url} for part in plan.parts],
    }
    with pytest.raises(UploadError, match="on_progress callback ended in a cancellation"):
        await AsyncFrameioUploader(asset, io.BytesIO(some_bytes(SIZE)), on_progress=on_progress).upload()


async def test_a_function_that_raises_stop_iteration_in_a_thread_is_not_awaited_for_ever() -> None:
    """A token callable may be `lambda: next(tokens)`; a future cannot store a StopIteration."""
    executor = concurrent.futures.ThreadPoolExecutor(1)
    with pytest.raises(RuntimeError, match="StopIteration"):
        async with asyncio.timeout(5):
            await in_thread(executor, next, iter(()))
    executor.shutdown(wait=False)


async def test_a_stream_that_is_cancelled_at_its_first_piece(fake: FakeFrameio, uploader: Uploader) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        await raised_in_the_loop()
        yield b"x"

    with pytest.raises(SourceError, match="what it waited for was cancelled"):
        await uploader.upload(pieces(), name="a", size=1, folder_id=fake.folder_id)


# -- the end of a program ----------------------------------------------------------------------------------------------

PROGRAM = """
import asyncio, gzip, io, sys
from aioframeio_upload import Limits, Uploader
from aioframeio_upload.testing import FakeFrameio, Fault

SOURCES = {
    "memory": lambda path: bytes(3 << 20),
    "path": lambda path: path,
    "packed": lambda path: gzip.open(io.BytesIO(gzip.compress(bytes(3 << 20), 1))),
}

async def main(kind, path):
    hold = Fault(do="hold", times=None)
    how = {"journal": path + ".sqlite3"} if kind == "path" else {}
    async with FakeFrameio(rate_limits=False, part_size=1 << 14, faults=[hold]) as fake:
        async with Uploader(lambda: fake.token, account_id=fake.account_id, base_url=fake.url, **how) as uploader:
            upload = uploader.upload(SOURCES[kind](path), name="a", folder_id=fake.folder_id).start()
            await fake.until(lambda fake: any(seen.operation == "part" for seen in fake.requests))
            print("ready", flush=True)
            await upload

loop = asyncio.new_event_loop()
try:
    loop.run_until_complete(main(*sys.argv[1:]))
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one process")
@pytest.mark.parametrize("kind", ["memory", "path", "packed"])
def test_a_program_with_run_until_complete_ends_after_a_ctrl_c(make_file: Callable[..., Path], kind: str) -> None:
    """An interrupted `run_until_complete` leaves its task unfinished; no thread may wait for its end."""
    command = [sys.executable, "-c", PROGRAM, kind, str(make_file(3 << 20))]
    program = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert program.stdout is not None
    try:
        assert program.stdout.readline() == b"ready\n"
        program.send_signal(signal.SIGINT)
        told, _ = program.communicate(timeout=20)
        assert told == b"interrupted\n"
    finally:
        program.kill()
        program.communicate()

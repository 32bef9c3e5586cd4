"""Start, observe and stop the fake: it leaves nothing behind in a loop, a thread or a process."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from typing import Any

import aiohttp
import anyio
import pytest
import trustme
import yarl

from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import on_both_loops
from tests.fake.test_s3 import BODY, connect, create, right_headers, target_of

HALF = len(BODY) // 2


@pytest.mark.parametrize("anyio_backend", on_both_loops())
async def test_closing_it_aborts_open_connections_and_deletes_every_file() -> None:
    fault = Fault(do="hold", number=1)
    async with FakeFrameio(faults=[fault], part_size=len(BODY) // 2) as fake:
        asset = await create(fake)
        idle, held, half_sent = [await connect(fake) for _ in range(3)]
        held.send(target_of(asset, 1), right_headers(fake, len(BODY) // 2), BODY[: len(BODY) // 2])
        half_sent.send(target_of(asset, 2), right_headers(fake, len(BODY) // 2), BODY[:100])
        await fake.until(lambda fake: fake.hits(fault) == 1 and fake.requests[-1].bytes_received == 100)
        directory = fake._spool.directory
        assert directory is not None
        assert (directory.name.startswith("fake-frameio-"), fake.connections, fake.parts_in_flight) == (True, 3, 2)
    assert (fake.connections, fake.parts_in_flight, fake.max_parts_in_flight) == (0, 0, 2)
    for wire in (idle, held, half_sent):
        await wire.close()
    assert not await anyio.Path(directory).exists()


async def test_it_counts_simultaneous_writes_of_a_part_without_those_whose_client_has_left() -> None:
    held = Fault(do="hold", times=None)
    async with FakeFrameio(faults=[held], part_size=HALF) as fake:
        asset = await create(fake)
        wires = [await connect(fake) for _ in range(3)]
        for count, number in enumerate((1, 2, 1), 1):
            wires[count - 1].send(target_of(asset, number), right_headers(fake, HALF), BODY[:HALF])
            await fake.until(lambda fake, count=count: fake.hits(held) == count)  # type: ignore[misc]
            assert (fake.parts_in_flight, fake.max_writes_of_a_part) == (count, 2 if count == 3 else 1)
        for left, wire in enumerate(wires, 1):
            await wire.close()
            await fake.until(lambda fake, left=left: fake.parts_in_flight == 3 - left)  # type: ignore[misc]
        assert (fake.max_writes_of_a_part, fake.max_parts_in_flight) == (2, 3)


async def test_waiting_for_a_condition_that_never_holds_ends_when_the_fake_is_closed() -> None:
    async with FakeFrameio() as fake:
        waiting = asyncio.ensure_future(fake.until(lambda fake: False))
        await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="closed"):
        await waiting


async def test_an_error_in_a_condition_is_raised_in_the_waiting_call() -> None:
    async with FakeFrameio() as fake:
        with pytest.raises(ZeroDivisionError):
            await fake.until(lambda fake: 1 // 0 == 1)
        waiting = asyncio.ensure_future(fake.until(lambda fake: fake.files[0].size == 1 // len(fake.files) - 1))
        await asyncio.sleep(0)
        waiting.cancel()
        await create(fake)


async def test_a_fake_can_be_started_only_once() -> None:
    fake = FakeFrameio()
    with pytest.raises(RuntimeError, match="not started"):
        await fake.until(lambda fake: True)
    async with fake:
        pass
    with pytest.raises(RuntimeError, match="once"):
        await fake.__aenter__()


async def test_while_it_is_offline_connections_are_refused_and_then_the_same_port_serves() -> None:
    async with FakeFrameio() as fake:
        asset = await create(fake)
        async with fake.offline():
            with pytest.raises(ConnectionRefusedError):
                await connect(fake)
        wire = await connect(fake)
        wire.send(target_of(asset), right_headers(fake), BODY)
        assert (await wire.answer()).status == 200
        await wire.close()


@pytest.fixture
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return TLS contexts of the server and of a client that trusts only the server's CA."""
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    return server, client


@pytest.mark.parametrize("anyio_backend", on_both_loops())
async def test_it_serves_https_with_a_given_context(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    server, client = contexts
    cut = Fault(do="reset", after=100)
    stalled = Fault(do="stall", first=2)
    async with FakeFrameio(ssl=server, faults=[cut, stalled]) as fake:
        assert fake.url.startswith("https://127.0.0.1:")
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=client)) as session:
            path = f"/v4/accounts/{fake.account_id}/folders/{fake.folder_id}/files/local_upload"
            authorization = {"Authorization": f"Bearer {fake.token}"}
            body = {"data": {"name": "a.mov", "file_size": len(BODY)}}
            async with session.post(fake.url + path, json=body, headers=authorization) as response:
                asset = (await response.json())["data"]
            url = yarl.URL(asset["upload_urls"][0]["url"], encoded=True)
            headers = {"Content-Type": "video/quicktime", "x-amz-acl": "private"}
            tracker = asyncio.ensure_future(fake.until(lambda fake: fake.hits(stalled) == 1))
            tracker.add_done_callback(lambda _: fake.release())
            with pytest.raises(aiohttp.ClientError):
                await session.put(url, data=_once(BODY), headers=headers | {"Content-Length": str(len(BODY))})
            async with session.put(url, data=BODY, headers=headers) as response:
                assert response.status == 200
            await tracker
        await fake.until(lambda fake: fake.connections == 0 and fake.files[0].complete)


async def _once(body: bytes) -> Any:
    """Yield a body that aiohttp cannot send a second time."""
    yield body


def test_a_fake_in_a_thread_serves_synchronous_code(fake_frameio: FakeFrameio) -> None:
    assert urllib.request.urlopen(f"{fake_frameio.url}/_fake/files").status == 200
    fake_frameio.wait_until(lambda fake: fake.connections == 0)
    with pytest.raises(TimeoutError):
        fake_frameio.wait_until(lambda fake: False, timeout=0.01)


async def test_a_fake_in_a_thread_is_awaited_from_another_loop(fake_frameio: FakeFrameio) -> None:
    fault = Fault(do="hold")
    fake_frameio.add_fault(fault)
    wire = await connect(fake_frameio)
    wire.send(target_of(await create(fake_frameio)), right_headers(fake_frameio), BODY)
    await fake_frameio.until(lambda fake: fake.hits(fault) == 1)
    fake_frameio.release()
    assert (await wire.answer()).status == 200
    await wire.close()
    await fake_frameio.until(lambda fake: fake.connections == 0)
    async with fake_frameio.offline():
        with pytest.raises(ConnectionRefusedError):
            await connect(fake_frameio)


def test_a_fake_in_a_thread_that_cannot_listen_raises_the_reason(fake_frameio: FakeFrameio) -> None:
    port = int(fake_frameio.url.rpartition(":")[2])
    with pytest.raises(OSError, match="in use"), FakeFrameio(port=port).in_thread():
        pass


async def test_no_repr_shows_a_token_or_a_signature() -> None:
    async with FakeFrameio() as fake:
        asset = await create(fake)
        wire = await connect(fake)
        wire.send(target_of(asset), right_headers(fake), BODY)
        await wire.answer()
        await wire.close()
        shown = repr([fake, fake.requests, fake.files, fake._account])
        assert fake.token not in shown
        assert asset["upload_urls"][0]["url"].rpartition("=")[2] not in shown
        assert fake._account.keys.secret not in shown


def _start(*arguments: str) -> tuple[subprocess.Popen[str], dict[str, str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "aioframeio_upload.testing", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    where: dict[str, str] = json.loads(process.stdout.readline())
    return process, where


def _finish(process: subprocess.Popen[str]) -> int:
    with process:
        return process.wait(20)


@pytest.mark.needs_program
def test_as_a_process_it_serves_until_its_stdin_closes() -> None:
    faults = json.dumps([{"on": "part", "status": 503}])
    process, where = _start("--part-size", "6000", "--no-rate-limits", "--faults", faults)
    asset = _call(where, json.dumps({"data": {"name": "a.mov", "file_size": len(BODY)}}).encode())["data"]
    begin = 0
    for url in asset["upload_urls"]:
        _put(url["url"], BODY[begin : begin + url["size"]])
        begin += url["size"]
    (file,) = _look(where, "files")["files"]
    while not file["complete"]:
        (file,) = _look(where, "files")["files"]
    assert (file["sha256"], file["parts"]) == (hashlib.sha256(BODY).hexdigest(), [1, 2])
    rows = [row for row in _look(where, "requests")["requests"] if row["operation"] == "part"]
    assert [(row["number"], row["status"]) for row in rows] == [(1, 503), (1, 200), (2, 200)]
    assert process.stdin is not None
    process.stdin.close()
    assert _finish(process) == 0


@pytest.mark.needs_program
@pytest.mark.skipif(sys.platform == "win32", reason="no signals to processes")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_as_a_process_it_exits_cleanly_on_a_signal(number: int) -> None:
    process, _ = _start()
    os.kill(process.pid, number)
    assert _finish(process) == 0


@pytest.mark.needs_program
@pytest.mark.skipif(sys.platform == "win32", reason="lets two listen on one port that may be used again")
def test_as_a_process_it_reports_that_its_port_is_in_use() -> None:
    process, where = _start()
    port = str(yarl.URL(where["url"]).port)
    command = [sys.executable, "-m", "aioframeio_upload.testing", "--port", port]
    try:
        second = subprocess.run(command, stdin=subprocess.PIPE, capture_output=True, text=True, timeout=40)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        assert _finish(process) == 0
    assert (second.returncode, second.stdout, second.stderr) == (2, "", f"error: port {port} is in use\n")


def _call(where: dict[str, str], body: bytes) -> dict[str, Any]:
    url = f"{where['url']}/v4/accounts/{where['account_id']}/folders/{where['folder_id']}/files/local_upload"
    headers = {"Authorization": f"Bearer {where['token']}", "Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url, body, headers)) as response:
        document: dict[str, Any] = json.load(response)
    return document


def _put(url: str, body: bytes) -> None:
    headers = {"Content-Type": "video/quicktime", "x-amz-acl": "private"}
    request = urllib.request.Request(url, body, headers, method="PUT")
    try:
        urllib.request.urlopen(request).close()
    except urllib.error.HTTPError as error:
        error.close()
        urllib.request.urlopen(request).close()


def _look(where: dict[str, str], what: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{where['url']}/_fake/{what}") as response:
        document: dict[str, Any] = json.load(response)
    return document


@pytest.mark.needs_program
def test_the_plugin_module_itself_imports_no_aiohttp() -> None:
    import aioframeio_upload.testing.pytest_plugin as plugin

    code = f"import runpy, sys; runpy.run_path({plugin.__file__!r}); assert 'aiohttp' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)

"""The command line's connection to Frame.io: login, proxy and certificates; a terminal and a closed pipe."""

from __future__ import annotations

import asyncio
import os
import re
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest
import trustme
from aiohttp import web
from aiohttp.test_utils import RawTestServer
from yarl import URL

from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import PART, on_disk, sha256, some_bytes
from tests.support.commands import Program
from tests.support.ims import SECRET, serving
from tests.support.pressed import read_to_end

pytestmark = [pytest.mark.needs_program, pytest.mark.slow]

BODY = some_bytes(2 * PART)


@contextmanager
def beside(fake: FakeFrameio, folder: Path) -> Iterator[Program]:
    """The command line with a fake and a file to upload."""
    (folder / "take.mov").write_bytes(BODY)
    with fake.in_thread():
        yield Program(fake, folder)


async def in_thread(program: Program, *arguments: str, **environment: str | None) -> tuple[int, str, str]:
    return await asyncio.to_thread(program.run, *arguments, environment=environment)


@pytest.mark.parametrize("command", ["upload", "find"])
@pytest.mark.parametrize(("secret", "expected"), [(SECRET, 0), ("wrong", 1)])
async def test_with_a_client_secret_it_logs_in_by_the_sdk(
    fake: FakeFrameio, tmp_path: Path, secret: str, expected: int, command: str
) -> None:
    on_disk((tmp_path / "take.mov").write_bytes, BODY)
    async with serving(fake) as ims:
        status, _, complaint = await in_thread(
            Program(fake, tmp_path),
            *(("upload", "take.mov", "--folder", fake.folder_id) if command == "upload" else ("find",)),
            FRAMEIO_TOKEN=None,
            FRAMEIO_CLIENT_ID="ours",
            FRAMEIO_CLIENT_SECRET=secret,
            FRAMEIO_IMS_URL=ims.url,
        )
    assert status == expected, complaint
    assert "wrong" not in complaint
    assert "Traceback" not in complaint
    assert ("AuthenticationError" in complaint) == bool(expected)
    assert [file.sha256 for file in fake.files] == [sha256(BODY)] * (status == 0 and command == "upload")
    assert {form["grant_type"] for form in ims.asked} == {"client_credentials"}


@pytest.mark.parametrize("how", ["--ca", "REQUESTS_CA_BUNDLE", "nothing"])
def test_a_private_certificate_authority_is_trusted_if_named(tmp_path: Path, how: str) -> None:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "studio.pem"))
    fake = FakeFrameio(ssl=context, part_size=PART)
    with beside(fake, tmp_path) as program:
        link = f"https://next.frame.io/project/{fake.project_id}"
        status, _, complaint = program.run(
            *("upload", "take.mov", "--folder", link, *(["--ca", "studio.pem"] if how == "--ca" else [])),
            environment={how: "studio.pem"} if how.isupper() else {},
        )
    if how == "nothing":
        assert (status, fake.files) == (1, ())
        assert "the server's certificate is not trusted; --ca adds the certificate of its authority" in complaint
        assert len(complaint.splitlines()) == 1
    else:
        assert (status, complaint) == (0, "")
        assert [file.sha256 for file in fake.files] == [sha256(BODY)]


async def test_everything_goes_through_the_proxy(fake: FakeFrameio, tmp_path: Path) -> None:
    """The proxy for plain HTTP forwards and counts requests."""
    on_disk((tmp_path / "take.mov").write_bytes, BODY)
    asked: list[str] = []

    async def pass_on(request: web.BaseRequest) -> web.Response:
        asked.append(request.method)
        url = URL(request.raw_path, encoded=True)
        headers = {name: value for name, value in request.headers.items() if name not in ("Host", "Expect")}
        async with (
            aiohttp.ClientSession(skip_auto_headers=("Content-Type",)) as session,
            session.request(request.method, url, headers=headers, data=await request.read()) as answer,
        ):
            kept = {name: value for name, value in answer.headers.items() if name in ("ETag", "Content-Type", "Date")}
            return web.Response(status=answer.status, body=await answer.read(), headers=kept)

    async with RawTestServer(pass_on, port=0) as server:
        status, _, complaint = await in_thread(
            Program(fake, tmp_path),
            *("upload", "take.mov", "--proxy", str(server.make_url("/"))),
            *("--folder", f"https://next.frame.io/project/{fake.project_id}"),
        )
    assert (status, complaint) == (0, "")
    assert [file.sha256 for file in fake.files] == [sha256(BODY)]
    assert len(asked) == len(fake.requests)
    assert asked.count("PUT") == 2


@pytest.mark.skipif(sys.platform == "win32", reason="has no pseudo-terminal")
def test_on_a_terminal_it_is_drawn_and_its_ends_and_retries_stay(tmp_path: Path) -> None:
    import pty

    fake = FakeFrameio(part_size=PART, faults=[Fault(do="answer", status=503, code="SlowDown", number=2)])
    with beside(fake, tmp_path) as program:
        leader, follower = pty.openpty()
        terminal = {"TERM": "xterm", "COLUMNS": "100", "LINES": "24"}
        arguments = ("upload", "take.mov", "nowhere.mov", "--folder", fake.folder_id)
        with program.start(*arguments, environment=terminal, stdout=follower, stderr=follower) as running:
            os.close(follower)
            shown = b"".join(read_to_end(leader)).decode()
        os.close(leader)
    assert running.returncode == 1
    assert "\x1b[" in shown
    assert re.search(r"take\.mov: again in \d", shown)
    assert "take.mov: uploaded, 2.1 MB  https://next.frame.io/" in shown
    assert shown.splitlines()[-1].endswith("error: nowhere.mov: SourceError: No such file or directory; check the path")


@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGPIPE to be told of")
def test_a_reader_that_goes_away_costs_the_display_and_not_the_upload(tmp_path: Path) -> None:
    fake = FakeFrameio(part_size=PART, faults=[hold := Fault(do="hold", number=2)])
    with (
        beside(fake, tmp_path) as program,
        program.start("upload", "take.mov", "--folder", fake.folder_id, "--json") as running,
    ):
        fake.wait_until(lambda fake: fake.hits(hold) == 1, timeout=40)
        assert running.stdout is not None
        running.stdout.close()
        fake.release()
        assert running.stderr is not None
        complaint = running.stderr.read()
        assert running.wait(timeout=40) == 0
    assert complaint == "warning: output was lost: stdout: Broken pipe\n"
    assert [file.sha256 for file in fake.files] == [sha256(BODY)]

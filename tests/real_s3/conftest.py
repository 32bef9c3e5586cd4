"""The fixture `s3_server`: each real server that this run asks for, started once."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.wire import Wire

from . import servers
from .presign import S3Server

# Names of servers, separated by commas; the nox session `seaweedfs` sets it.
CHOICE = "REAL_S3"
CHOSEN = os.environ.get(CHOICE, "rclone").split(",")


@pytest.fixture(scope="session", params=CHOSEN)
def s3_server(request: pytest.FixtureRequest) -> Iterator[S3Server]:
    """A real S3 server that checks signatures: `create_response`, `sha256`, `stored`, `delete`."""
    name: str = request.param
    if servers.program_of(name) is None:
        reason = f"{servers.KINDS[name].program} is not installed in this environment"
        if CHOICE in os.environ or os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with tempfile.TemporaryDirectory() as folder, servers.running(name, Path(folder)) as server:
        yield server


@pytest.fixture(autouse=True)
def the_tests_own_client_hangs_up(request: pytest.FixtureRequest, no_descriptor_left_behind: None) -> Iterator[None]:
    """Close the connections of botocore's client, so that no socket is open that the library did not open."""
    yield
    if "s3_server" in request.fixturenames:
        request.getfixturevalue("s3_server").close()


@pytest.fixture
async def wire(s3_server: S3Server) -> AsyncIterator[Wire]:
    """A proxy in front of the server, which can be cut; links must be made with `at=wire.url`."""
    target = urlsplit(s3_server.url)
    assert target.hostname is not None
    assert target.port is not None
    async with Wire(target.hostname, target.port) as wire:
        yield wire


@pytest.hookimpl(tryfirst=True)  # before -m looks at the markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests that use a server as needing a second program."""
    for item in items:
        if "s3_server" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.needs_program)

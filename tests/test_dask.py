"""A file that a Dask cluster sends: workers that are processes, of which some die, and some see another file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from blockbuster import BlockBuster

pytest.importorskip("distributed")

from cluster import cluster_of
from conftest import uploader_on, sha256
from distributed import Client

from aioframeio_upload import Progress, Uploader
from aioframeio_upload.dask import upload_file
from aioframeio_upload.testing import FakeFrameio

pytestmark = pytest.mark.needs_program


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with cluster_of(2) as address:
        yield address


@pytest.fixture(autouse=True)
def the_engine_may_block(blockbuster: BlockBuster) -> None:
    """As a client starts, it looks up what machine this is, and what is installed."""
    for function in blockbuster.functions.values():
        function.can_block_in("distributed/versions.py", {"get_versions"})


@pytest.fixture
async def client(address: str) -> AsyncIterator[Client]:
    async with Client(address, asynchronous=True, set_as_default=False) as client:
        yield client


async def test_a_file_is_sent_by_all_workers(client, uploader, fake, make_file) -> None:
    path = make_file(9 << 20)
    events = []
    async with upload_file(client, path, uploader=uploader, folder_id=fake.folder_id) as upload:
        async for event in upload:
            events.append(event)
    for e in events: print(e)
    (file,) = fake.files
    assert file.sha256 == sha256(path)

"""The page for users of the official SDK: its programs run, the SDK's and ours, and its table is true."""

from __future__ import annotations

import functools
import hashlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio.from_thread
import frameio
import frameio.auth
import httpx
import pytest
from frameio.files import FileCreateLocalUploadParamsData
from frameio.upload import FrameioUploader

import aioframeio_upload
from aioframeio_upload import AsyncFrameioUploader, Limits, RetryPolicy, Uploader
from aioframeio_upload.testing import FakeFrameio
from tests.support.ims import SECRET, Ims, serving
from tests.support.pages import ROOT, blocks, run

pytestmark = pytest.mark.needs_tree

PAGE = ROOT / "docs" / "coming-from-frameio-uploader.md"
BLOCKS = list(blocks(PAGE))
BODY = b"take-07.mov" * 30_000
NO_KEEPALIVE = httpx.Limits(max_keepalive_connections=0)
"""The SDK does not close the clients that it creates; without keep-alive they leave no connection open."""


@pytest.fixture
def fake() -> Iterator[FakeFrameio]:
    with FakeFrameio(part_size=100_000).in_thread() as fake:
        yield fake


@pytest.fixture
def ims(fake: FakeFrameio) -> Iterator[Ims]:
    with (
        anyio.from_thread.start_blocking_portal() as portal,
        portal.wrap_async_context_manager(serving(fake)) as ims,
    ):
        yield ims


@pytest.fixture
def names(fake: FakeFrameio, ims: Ims, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return the names that the page's blocks use without defining them, and services in place of Adobe's."""
    with httpx.Client(verify=False) as http:
        client = frameio.Frameio(token=fake.token, base_url=fake.url, httpx_client=http)
        data = FileCreateLocalUploadParamsData(name="there before.mov", file_size=1)
        there = client.files.create_local_upload(fake.account_id, fake.folder_id, data=data).data.id

    def here(module: Any, name: str, **given: Any) -> None:
        monkeypatch.setattr(module, name, functools.partial(getattr(module, name), **given))

    http_here = httpx.Client(verify=False, limits=NO_KEEPALIVE)
    async_http_here = httpx.AsyncClient(verify=False, limits=NO_KEEPALIVE)
    here(frameio, "Frameio", base_url=fake.url, httpx_client=http_here)
    here(frameio, "AsyncFrameio", base_url=fake.url, httpx_client=async_http_here)
    here(frameio.auth, "ServerToServerAuth", ims_base_url=ims.url, http_client=http_here)
    here(frameio.auth, "AsyncServerToServerAuth", ims_base_url=ims.url, http_client=async_http_here)
    here(aioframeio_upload, "Uploader", base_url=fake.url)
    monkeypatch.setenv("FRAMEIO_CLIENT_ID", "ours")
    monkeypatch.setenv("FRAMEIO_CLIENT_SECRET", SECRET)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "take-07.mov").write_bytes(BODY)
    return {
        "token": fake.token,
        "ACCOUNT": fake.account_id,
        "FOLDER": fake.folder_id,
        "FILE": there,
        "render_url": "https://example.com/render.mov",
    }


@pytest.mark.parametrize("block", BLOCKS)
def test_each_block_runs_and_what_it_uploads_arrives(
    block: str,
    names: dict[str, Any],
    fake: FakeFrameio,
    ims: Ims,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run(block, PAGE, names, monkeypatch)
    made = fake.files[1:]
    printed = capsys.readouterr().out
    if "status" in block:
        assert (printed, made) == ("False False\n", ())
    elif "render_url" in block:
        assert (printed, [file.name for file in made]) == (f"{made[0].id}\n", ["render.mov"])
    else:
        fake.wait_until(lambda fake: all(file.complete for file in made))
        assert [(file.name, file.sha256) for file in made] == [("take-07.mov", hashlib.sha256(BODY).hexdigest())]
        assert "on_progress" not in block or "100%" in printed or "330,000 of 330,000 bytes" in printed
    assert len(ims.asked) == ("Auth" in block)


def test_each_example_of_the_guide_has_one_of_ours_beside_it() -> None:
    """Under each heading there are blocks that use the official SDK's uploader or client, and blocks that do not."""
    sections: dict[str, list[str]] = {}
    for block in BLOCKS:
        sections.setdefault(block.id.partition(":")[0], []).append(block.values[0])
    assert list(sections) == [
        "Quick start",
        "Progress callback",
        "Rich progress bar",
        "Full example",
        "Remote upload",
        "Checking the status",
    ]
    for section in sections.values():
        assert "import Frameio\n" in section[0]
        assert "aioframeio_upload" not in section[0]
        assert "Uploader(" in section[-1]
        assert "import Frameio\n" not in section[-1]


def test_the_table_of_arguments_is_the_signature_of_both() -> None:
    text = PAGE.read_text(encoding="utf-8").split("\n## Configuration\n", 1)[1].split("\n## ", 1)[0]
    told = re.findall(r"^\| `(\w+)` \| (?:`(\w+)`)? ?\|", text, re.MULTILINE)
    for kind in (AsyncFrameioUploader, FrameioUploader):
        assert told == [
            (name, "" if one.default is inspect.Parameter.empty else repr(one.default))
            for name, one in inspect.signature(kind).parameters.items()
        ]
    assert f'Limits(parts="{Limits().parts}")' in text
    assert f"RetryPolicy(attempts={RetryPolicy().attempts})" in text
    assert hasattr(Uploader, "execute")

"""Test how many calls of this package are on the stack of each task of an upload: few, so that it is easy to follow."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aioframeio_upload import FolderUpload, Limits, Progress, Upload, UploadCancelled
from aioframeio_upload.testing import FakeFrameio
from tests.conftest import PART, on_disk, uploader_on
from tests.support.trees import plant

UPLOAD = ["BaseUpload._run", "UploadJob.run", "UploadJob._send", "PartUploader.run"]
"""An upload's task while its parts are sent."""
FILE = ["FilePipeline._see_to_the_end", "FilePipeline._upload", *UPLOAD[1:]]
"""The task of one file of a folder."""
FOLDER = [
    "BaseUpload._run",
    "deliver_folder",
    "FolderJob.run",
    "FilePipeline.run",
    "FilePipeline._start_files",
    "_FileSlot.acquire",
]
"""A folder's task while it waits for one of `Limits.files`."""
PART_TASK = [
    "PartUploader._work",
    "PartUploader._send",
    "PartUploader._attempt",
    "PutAttempt.put",
    "PutAttempt._put_to",
    "PutAttempt._exchange",
]
"""A part's task while its body is written."""
BODY = ["PartPayload.write_with_length", "PartPayload._prepare"]
"""The task in which aiohttp writes that body, while it waits for the limit of bandwidth."""
TICKS = [["PartUploader._tick"], ["FolderJob._tick"], ["BatchConfirmer.run"]]
"""Tasks beside those, which wait for a time or for news."""

NUMBERS = {"an upload": UPLOAD, "a folder": FOLDER, "a file of a folder": FILE, "a part": PART_TASK}
SLOW = Limits(parts=1, files=1, bandwidth=100_000, api_pacing=False)


def our_frames(task: asyncio.Task[Any]) -> list[str]:
    """The functions of this package on the stack of a suspended task, from the outermost on."""
    return list(_walk(task.get_coro()))


def _walk(awaited: Any) -> Iterator[str]:
    while awaited is not None:
        code = getattr(awaited, "cr_code", None) or getattr(awaited, "gi_code", None)
        if code is not None and "/aioframeio_upload/_" in Path(code.co_filename).as_posix():
            yield code.co_qualname
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None)


def stacks() -> list[list[str]]:
    """The frames of every task that has any of ours, but this one and those that tick."""
    found = [our_frames(task) for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    return sorted(frames for frames in found if frames and frames not in TICKS)


async def until_written(upload: Upload | FolderUpload) -> None:
    """Wait until bytes of a part are on their way."""
    async for event in upload:
        if isinstance(event, Progress) and event.bytes_uploaded > 0:
            return


async def test_the_tasks_of_an_upload_have_these_frames(fake: FakeFrameio, make_file: Callable[..., Path]) -> None:
    async with uploader_on(fake, limits=SLOW) as uploader:
        upload = uploader.upload(make_file(PART), folder_id=fake.folder_id).start()
        async with asyncio.timeout(10):
            await until_written(upload)
        assert stacks() == sorted([UPLOAD, PART_TASK, BODY])
        upload.cancel()
        with pytest.raises(UploadCancelled):
            await upload


async def test_the_tasks_of_a_folder_have_these_frames(fake: FakeFrameio, tmp_path: Path) -> None:
    root = on_disk(plant, tmp_path / "shoot", {"a.mov": PART, "b.mov": 1})
    async with uploader_on(fake, limits=SLOW) as uploader:
        upload = uploader.upload_folder(root, folder_id=fake.folder_id).start()
        async with asyncio.timeout(10):
            await until_written(upload)
        assert stacks() == sorted([FOLDER, FILE, PART_TASK, BODY])
        upload.cancel()
        with pytest.raises(UploadCancelled):
            await upload


@pytest.mark.needs_tree
def test_the_documentation_states_these_numbers() -> None:
    text = (Path(__file__).parents[2] / "docs/architecture.md").read_text()
    for task, frames in NUMBERS.items():
        assert f"| {task} | {len(frames)} |" in text, task

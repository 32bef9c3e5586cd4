"""For any tree and any faults: each file has one fate, parents come before children, a second run sends nothing."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from aioframeio_upload import (
    FileCompleted,
    FileFailed,
    FileSkipped,
    FolderCompleted,
    FolderPlanned,
    FolderResult,
    FolderUploadError,
    Limits,
    Progress,
)
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import on_disk, uploader_on
from tests.support.trees import arrived, content_of, plant

NAMES = st.sampled_from(["a", "b", "caf\u00e9", "x y", "z.mov"])
TREES = st.dictionaries(
    st.lists(NAMES, min_size=1, max_size=4).map("/".join), st.integers(1, 3000), min_size=1, max_size=12
)
REFUSALS = {
    "create": {"on": "create", "status": 422},
    "create_folder": {"on": "create_folder", "status": 422},
    "part": {"on": "part", "status": 403, "code": "AccessDenied"},
    "lost part": {"on": "part", "do": "reset"},
    "lost create": {"on": "create", "do": "lose_answer"},
}
FAULTS = st.lists(st.tuples(st.sampled_from(sorted(REFUSALS)), st.integers(1, 6)), max_size=4)


def without_collisions(tree: dict[str, int]) -> dict[str, int]:
    """No path may be a file and a folder."""
    folders = {"/".join(path.split("/")[:depth]) for path in tree for depth in range(1, path.count("/") + 1)}
    return {path: size for path, size in tree.items() if path not in folders}


async def upload(fake: FakeFrameio, root: Path, files: int, places: int) -> FolderResult:
    """Upload it, hold what is true of every upload of a folder, and give its result."""
    limits = Limits(files=places, parts=2, api_pacing=False)
    async with uploader_on(fake, limits=limits) as uploader:
        folder = uploader.upload_folder(root, folder_id=fake.folder_id)
        events = [event async for event in folder]
        try:
            result = await folder
        except FolderUploadError as error:
            result = error.result
            assert result.failures
    fates = Counter(event.path for event in events if isinstance(event, FileCompleted | FileSkipped | FileFailed))
    assert set(fates.values()) == {1}
    assert isinstance(events[0], FolderPlanned)
    assert len(fates) == events[0].files == files
    assert len(result.files) + len(result.skipped) + len(result.failures) == files
    assert events[-1] == FolderCompleted(result)
    made = [folder.path for folder in result.folders]
    for index, path in enumerate(made):
        parent = path.rpartition("/")[0] or "."
        assert path == "." or parent in made[:index] or parent not in made
    assert len(made) == len(set(made))
    told = [event for event in events if isinstance(event, Progress)]
    assert [one.bytes_uploaded for one in told] == sorted(one.bytes_uploaded for one in told)
    assert told[-1].parts_completed == len(result.files) + len(result.skipped)
    return result


async def three_runs(root: Path, files: int, faults: list[Fault], places: int) -> None:
    async with FakeFrameio(rate_limits=False, part_size=1000, faults=faults) as fake:
        first = await upload(fake, root, files, places)
        fake._account.faults.armed.clear()
        second = await upload(fake, root, files, places)
        assert len(second.skipped) == len(first.files) + len(first.skipped)
        assert (len(second.files), second.failures) == (len(first.failures), ())
        fake.requests.clear()
        third = await upload(fake, root, files, places)
        assert len(third.skipped) == files
        assert {seen.operation for seen in fake.requests} == {"list_children"}
        there = {path.removeprefix("root/"): digest for path, digest in arrived(fake).items() if digest is not None}
        assert there == on_disk(content_of, root)


# Each example is three uploads of a second: none is spent on shrinking.
@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.reuse, Phase.generate],
)
@given(TREES.map(without_collisions), FAULTS, st.integers(1, 5))
def test_every_file_has_one_fate_and_a_second_run_sends_only_what_failed(
    tree: dict[str, int], refusals: list[tuple[str, int]], places: int
) -> None:
    # The first folder that is asked for is the root's own: without it there is no upload.
    faults = [Fault(first=first + (kind == "create_folder"), **REFUSALS[kind]) for kind, first in refusals]  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder:
        root = plant(Path(folder) / "root", {path: bytes([len(path)]) * size for path, size in tree.items()})
        asyncio.run(three_runs(root, len(tree), faults, places))

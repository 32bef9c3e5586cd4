"""The walk of a tree finds the wanted files, leaves out others, reports what it cannot read, and is fast."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from aioframeio_upload import SourceChanged, SourceError
from aioframeio_upload._core.file_queue import LocalFile
from aioframeio_upload._core.patterns import HIDDEN, OF_SYSTEM, patterns
from aioframeio_upload._io import tree_path
from aioframeio_upload._io import walk as walk_module
from aioframeio_upload._io.walk import LINK, NOT_INCLUDED, LeftOut, Tree, check_unchanged, walk
from tests.conftest import on_disk

TREE = """
    a.mov
    b/c.mov
    b/d/e.mov
    b/d/Thumbs.db
    b/desktop.ini
    b/.hidden
    .git/config
    empty/
    cache/x.mov
    z/cache
"""

posix = pytest.mark.skipif(sys.platform == "win32", reason="as POSIX has it")


def plant(root: Path, tree: str) -> Path:
    for line in tree.split():
        path = root / line
        if line.endswith("/"):
            path.mkdir(parents=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(line.encode())
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return plant(tmp_path / "shoot", TREE)


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1, thread_name_prefix="aioframeio-upload") as executor:
        yield executor


async def found(root: Path, executor: ThreadPoolExecutor, include: str = "", exclude: str = "") -> Tree:
    return await walk(str(root), patterns(include.split(), exclude.split()), executor)


def paths(tree: Tree) -> list[str]:
    return [file.path for file in tree.files]


async def test_all_files_are_found_but_those_that_are_always_left_out(root: Path, executor: ThreadPoolExecutor) -> None:
    tree = await found(root, executor)
    assert paths(tree) == ["a.mov", "b/c.mov", "b/d/e.mov", "cache/x.mov", "z/cache"]
    assert tree.folders == ["", "b", "b/d", "cache", "empty", "z"]
    assert tree.failures == []
    assert tree.size == sum(file.size for file in tree.files)
    assert tree.bare == {"empty"}
    seen = on_disk(os.stat, root / "a.mov")
    assert tree.files[0] == LocalFile("a.mov", 5, seen.st_mtime_ns, seen.st_ctime_ns)


@pytest.mark.parametrize(
    ("include", "exclude", "files", "folders"),
    [
        ("", "cache", ["a.mov", "b/c.mov", "b/d/e.mov"], ["", "b", "b/d", "empty", "z"]),
        ("", "cache/", ["a.mov", "b/c.mov", "b/d/e.mov", "z/cache"], ["", "b", "b/d", "empty", "z"]),
        ("", "b/*", ["a.mov", "cache/x.mov", "z/cache"], ["", "b", "cache", "empty", "z"]),
        ("*.mov", "", ["a.mov", "b/c.mov", "b/d/e.mov", "cache/x.mov"], ["", "b", "b/d", "cache"]),
        ("*.mov", "b", ["a.mov", "cache/x.mov"], ["", "cache"]),
        ("b", "c.mov", ["b/d/e.mov"], ["", "b", "b/d"]),
        ("b/d/**", "", ["b/d/e.mov"], ["", "b", "b/d"]),
        ("*.wav", "", [], []),
        (".hidden .git Thumbs.db", "", [], []),
    ],
)
async def test_patterns_choose(
    root: Path, executor: ThreadPoolExecutor, include: str, exclude: str, files: list[str], folders: list[str]
) -> None:
    tree = await found(root, executor, include, exclude)
    assert (paths(tree), tree.folders) == (files, folders)


@posix
async def test_links_to_files_are_followed_and_links_to_folders_left_out(
    root: Path, executor: ThreadPoolExecutor, tmp_path: Path
) -> None:
    elsewhere = on_disk(plant, tmp_path / "elsewhere", "far.mov deep/down.mov")
    on_disk((root / "far.mov").symlink_to, elsewhere / "far.mov")
    on_disk((root / "deep").symlink_to, elsewhere / "deep")
    on_disk((root / "loop").symlink_to, root)
    on_disk((root / "nowhere.mov").symlink_to, root / "gone")
    tree = await found(root, executor)
    assert "far.mov" in paths(tree)
    assert not [path for path in paths(tree) if path.startswith(("deep", "loop"))]
    ((path, error),) = tree.failures
    assert (path, error.problem) == ("nowhere.mov", f"{root / 'nowhere.mov'}: No such file or directory")


LITTER = """
    lost+found/x
    @eaDir/a.mov@SynoEAStream
    $RECYCLE.BIN/S-1-5-21/$I123.mov
    System|Volume|Information/IndexerVolumeGuid
    b/#recycle/a.mov
    b/Temporary|Items/x
    b/Icon\\r
"""


@posix
async def test_what_systems_make_for_themselves_is_not_even_looked_into(
    root: Path, executor: ThreadPoolExecutor
) -> None:
    for line in LITTER.replace("|", " ").replace("\\r", "\r").strip("\n").split("\n"):
        path = root / line.removeprefix("    ")
        on_disk(path.parent.mkdir, parents=True, exist_ok=True)
        on_disk(path.write_bytes, b"")
    for name in ("lost+found", "System Volume Information"):
        on_disk((root / name).chmod, 0)  # as they are, for all but the system
    try:
        tree = await found(root, executor)
    finally:
        for name in ("lost+found", "System Volume Information"):
            on_disk((root / name).chmod, 0o700)
    assert tree.failures == []
    assert paths(tree) == ["a.mov", "b/c.mov", "b/d/e.mov", "cache/x.mov", "z/cache"]
    assert tree.folders == ["", "b", "b/d", "cache", "empty", "z"]


async def test_a_folder_of_empty_files_alone_leads_to_none(root: Path, executor: ThreadPoolExecutor) -> None:
    for name in ("b/none.mov", "cache/none.mov", "b/none.wav", "z/none.mov"):
        on_disk((root / name).write_bytes, b"")
    tree = await found(root, executor, "*.mov", "cache")
    assert [file.path for file in tree.files if not file.size] == ["b/none.mov", "z/none.mov"]
    assert tree.folders == ["", "b", "b/d"]
    assert "z" in (await found(root, executor, "", "cache")).bare, "nobody else tells where it cannot be made"


@posix
async def test_a_folder_that_is_excluded_is_not_walked(root: Path, executor: ThreadPoolExecutor) -> None:
    on_disk((root / "b" / "d" / "no\udcff").mkdir)
    assert (await found(root, executor)).failures != []
    assert (await found(root, executor, exclude="b/d")).failures == []


@posix
async def test_entries_that_are_not_files_and_names_that_are_not_text_are_reported(
    root: Path, executor: ThreadPoolExecutor
) -> None:
    on_disk(os.mkfifo, root / "pipe")
    on_disk((root / "no\udcff.mov").write_bytes, b"1")
    told = {path: (error.reason, error.advice) for path, error in (await found(root, executor)).failures}
    assert told == {
        "pipe": ("is not a regular file", "leave it out"),
        "no\\xff.mov": ("its name is not valid UTF-8, so it cannot be sent", "rename it"),
    }


@posix
async def test_an_error_about_a_name_that_is_not_text_can_be_printed(root: Path, executor: ThreadPoolExecutor) -> None:
    on_disk((root / "no\udcff.mov").write_bytes, b"1")
    on_disk((root / "b" / "none\udce9").mkdir)
    failures = (await found(root, executor)).failures
    assert sorted(path for path, _ in failures) == ["b/none\\xe9", "no\\xff.mov"]
    for path, error in failures:
        assert "\\x" in str(error)
        assert all(text.encode() for text in (path, str(error), error.path or ""))


@posix
async def test_an_error_about_a_root_whose_name_is_not_text_can_be_printed(
    root: Path, executor: ThreadPoolExecutor
) -> None:
    for name, told in (("gone\udcff", "gone\\xff"), ("gone\ud800", "gone\\ud800")):
        with pytest.raises(SourceError) as caught:
            await found(root / name, executor)
        assert str(caught.value).encode()
        assert caught.value.path == str(root / told)


@posix
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may read everything")
async def test_a_folder_that_cannot_be_read_is_reported_and_stops_nothing(
    root: Path, executor: ThreadPoolExecutor
) -> None:
    on_disk((root / "b").chmod, 0)
    try:
        tree = await found(root, executor)
    finally:
        on_disk((root / "b").chmod, 0o700)
    assert [path for path, _ in tree.failures] == ["b"]
    assert paths(tree) == ["a.mov", "cache/x.mov", "z/cache"]


@pytest.mark.parametrize("name", ["nowhere", "a.mov", "nul\0"])
async def test_a_root_that_cannot_be_walked_is_an_error(root: Path, executor: ThreadPoolExecutor, name: str) -> None:
    with pytest.raises(SourceError) as caught:
        await found(root / name, executor)
    assert "\0" not in str(caught.value)
    assert caught.value.is_away == (name == "nowhere")


@posix
async def test_names_that_only_look_the_same_are_kept_apart(root: Path, executor: ThreadPoolExecutor) -> None:
    on_disk(plant, root, "caf\u00e9.mov cafe\u0301.mov na\u00efve.mov")
    assert (await found(root, executor)).look_alikes == {"caf\u00e9.mov", "cafe\u0301.mov"}


async def test_a_cancelled_walk_ends_at_its_next_folder(tmp_path: Path, executor: ThreadPoolExecutor) -> None:
    on_disk(plant, tmp_path, " ".join(f"{one}/{two}/" for one in range(30) for two in range(30)))
    walking = asyncio.ensure_future(found(tmp_path, executor))
    await asyncio.sleep(0)
    walking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await walking
    assert await asyncio.get_running_loop().run_in_executor(executor, int) == 0, "the thread is free again"


async def test_a_file_that_changed_since_the_walk_is_an_error(root: Path, executor: ThreadPoolExecutor) -> None:
    file = (await found(root, executor)).files[0]
    path = root / file.path
    await check_unchanged(str(path), file, executor)
    on_disk(os.utime, path, ns=(file.modified_ns + 1000, file.modified_ns + 1000))
    with pytest.raises(SourceChanged):
        await check_unchanged(str(path), file, executor)
    on_disk(path.unlink)
    with pytest.raises(SourceError, match="No such file"):
        await check_unchanged(str(path), file, executor)


@posix
@pytest.mark.parametrize("holds", [True, False], ids=["held", "looked at"])
@pytest.mark.parametrize("swapped", ["b", "b/d"])
async def test_a_folder_that_became_a_link_after_the_walk_is_not_followed(
    root: Path, executor: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch, swapped: str, holds: bool
) -> None:
    monkeypatch.setattr(tree_path, "CAN_HOLD", holds)  # as on Windows
    tree = await found(root, executor)
    files = {file.path: file for file in tree.files}
    (held,) = [on_disk(tree.file("b/d/e.mov").open, "", os.O_RDONLY)]
    os.close(held)
    on_disk((root / swapped).rename, root.parent / "moved")
    on_disk((root / swapped).symlink_to, root.parent / "moved")
    with pytest.raises(SourceChanged, match=f"'{swapped}' became a link") as caught:
        await check_unchanged(tree.file("b/d/e.mov"), files["b/d/e.mov"], executor)
    assert caught.value.path == str(root / "b/d/e.mov")
    with pytest.raises(SourceChanged):
        on_disk(tree.file("b/d/e.mov").open, "", os.O_RDONLY)
    await check_unchanged(tree.file("a.mov"), files["a.mov"], executor)


@posix
async def test_a_root_that_is_a_link_and_a_link_to_a_file_are_followed(
    root: Path, executor: ThreadPoolExecutor
) -> None:
    on_disk((root.parent / "link").symlink_to, root)
    on_disk((root / "b" / "far.mov").symlink_to, root / "a.mov")
    tree = await found(root.parent / "link", executor)
    for file in tree.files:
        await check_unchanged(tree.file(file.path), file, executor)
        os.close(on_disk(tree.file(file.path).open, "", os.O_RDONLY))
    on_disk((root / "b" / "c.mov").unlink)
    with pytest.raises(SourceError, match="No such file") as caught:
        await check_unchanged(tree.file("b/c.mov"), LocalFile("b/c.mov", 1, 1), executor)
    assert caught.value.is_away


@pytest.mark.slow
async def test_a_hundred_thousand_files_are_found_in_seconds_and_beside_the_loop(
    tmp_path: Path, executor: ThreadPoolExecutor
) -> None:
    def make() -> None:
        for folder in range(100):
            (tmp_path / f"{folder:03}").mkdir()
            for number in range(1000):
                os.close(os.open(tmp_path / f"{folder:03}" / f"frame-{number:04}.dpx", os.O_CREAT | os.O_WRONLY))

    on_disk(make)
    turns, began = 0, time.monotonic()
    walking = asyncio.ensure_future(found(tmp_path, executor, "*.dpx *.mov", "cache **/old/*"))
    while not walking.done():
        turns += 1
        await asyncio.wait([walking], timeout=0.001)
    tree, seconds = await walking, time.monotonic() - began
    assert len(tree.files) == 100_000
    assert turns > 10, "the loop ran meanwhile"
    assert seconds < 30, "1.5 s on a machine of 2026"


# -- what is left out --------------------------------------------------------------------------------------------------


async def left_out_of(root: Path, executor: ThreadPoolExecutor, include: str = "", exclude: str = "") -> LeftOut:
    wanted = patterns(include.split(), exclude.split())
    left_out = LeftOut(wanted)
    await walk(str(root), wanted, executor, left_out)
    return left_out


async def test_what_is_left_out_has_its_reason(root: Path, executor: ThreadPoolExecutor) -> None:
    found = await left_out_of(root, executor, exclude="cache e.mov *.bak")
    assert {one.path: one.reason for one in found.paths} == {
        ".git/": HIDDEN,
        "b/.hidden": HIDDEN,
        "b/desktop.ini": OF_SYSTEM,
        "b/d/Thumbs.db": OF_SYSTEM,
        "b/d/e.mov": "excluded by 'e.mov'",
        "cache/": "excluded by 'cache'",
        "z/cache": "excluded by 'cache'",
    }
    assert (found.count, [one.pattern for one in found.unmatched()]) == (7, ["*.bak"])
    found = await left_out_of(root, executor, include="b/*.mov")
    assert {one.path for one in found.paths if one.reason == NOT_INCLUDED} == {
        *("a.mov", "b/d/e.mov", "cache/x.mov", "z/cache")
    }


@posix
async def test_a_link_to_a_folder_is_left_out_with_its_reason(root: Path, executor: ThreadPoolExecutor) -> None:
    on_disk(os.symlink, root / "b", root / "link")
    on_disk(os.symlink, root / "a.mov", root / "link.mov")
    found = await left_out_of(root, executor)
    assert [one.path for one in found.paths if one.reason == LINK] == ["link/"]


async def test_a_tree_of_any_size_keeps_a_bounded_list_of_what_it_leaves_out(
    root: Path, executor: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walk_module, "MOST_LEFT_OUT", 3)
    found = await left_out_of(root, executor, exclude="*")
    assert ([one.path for one in found.paths], found.count) == ([".git/", "a.mov", "b/"], 6)

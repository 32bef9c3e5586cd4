"""A watched folder is read as the walk of an upload reads it, and each hint is looked up."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aioframeio_upload import SourceError
from aioframeio_upload._core.patterns import patterns
from aioframeio_upload._core.watching import Stamp
from aioframeio_upload._io import watch_scan
from aioframeio_upload._io.sent_files import Sent, SentFiles
from aioframeio_upload._io.walk import read_folder
from aioframeio_upload._io.watch_scan import Findings, FolderScanner
from tests.support.trees import LONG_AGO, plant


@pytest.fixture
def sent() -> Iterator[SentFiles]:
    sent = SentFiles()
    yield sent
    sent.close()


def changes(steps: Iterator[Findings]) -> dict[str, Stamp | None]:
    return dict(change for findings in steps for change in findings.changes)


TREE = "a.mov b/c.mov b/d/e.mov b/.hidden b/x.part g.download/h.mov Thumbs.db b/d/skip.wav"


def test_a_scan_finds_what_was_not_sent_as_it_is(tmp_path: Path, sent: SentFiles) -> None:
    plant(tmp_path, TREE)
    scanner = FolderScanner(str(tmp_path), patterns((), "*.wav"), sent)
    assert changes(scanner.scan()) == {path: Stamp(len(path), LONG_AGO) for path in ("a.mov", "b/c.mov", "b/d/e.mov")}
    sent.add("b/c.mov", Sent(Stamp(7, LONG_AGO), 0.0))
    sent.add("a.mov", Sent(Stamp(5, LONG_AGO - 1), 0.0))
    assert set(changes(scanner.scan())) == {"a.mov", "b/d/e.mov"}


@pytest.mark.parametrize("include", [(), ("*.mov",), ("b",), ("b/d",)])
def test_a_hint_finds_what_a_scan_finds_there(tmp_path: Path, sent: SentFiles, include: tuple[str, ...]) -> None:
    plant(tmp_path, TREE)
    scanner = FolderScanner(str(tmp_path), patterns(include, "*.wav"), sent)
    found = changes(scanner.scan())
    assert found
    assert changes(scanner.look(TREE.split())) == found
    assert changes(scanner.look(["b", "a.mov"])) == found
    assert changes(scanner.look(["b/d"])) == {path: stamp for path, stamp in found.items() if path.startswith("b/d/")}


def test_a_hint_of_something_that_is_gone_is_passed_on(tmp_path: Path, sent: SentFiles) -> None:
    plant(tmp_path, "a.mov")
    scanner = FolderScanner(str(tmp_path), patterns((), ()), sent)
    assert changes(scanner.look(["b.mov", "sub/c.mov", "a.mov/d", ".hidden", "x.tmp"])) == {
        "b.mov": None,
        "sub/c.mov": None,
        "a.mov/d": None,
    }


def test_a_large_folder_is_found_in_steps(tmp_path: Path, sent: SentFiles) -> None:
    plant(tmp_path, {f"{number}.mov": 1 for number in range(watch_scan.CHUNK + 1)})
    scanner = FolderScanner(str(tmp_path), patterns((), ()), sent)
    assert [len(findings.changes) for findings in scanner.scan()] == [watch_scan.CHUNK, 1]
    scanner.stop()
    assert list(scanner.scan()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege")
def test_links_to_folders_are_not_followed(tmp_path: Path, sent: SentFiles) -> None:
    plant(tmp_path / "outside", "secret.mov")
    plant(tmp_path / "in", "a.mov")
    os.symlink(tmp_path / "outside", tmp_path / "in" / "link")
    os.symlink(tmp_path / "outside" / "secret.mov", tmp_path / "in" / "file.mov")
    scanner = FolderScanner(str(tmp_path / "in"), patterns((), ()), sent)
    assert set(changes(scanner.scan())) == {"a.mov", "file.mov"}
    assert changes(scanner.look(["link", "link/secret.mov", "../outside/secret.mov"])) == {}
    assert scanner.inspect("link/secret.mov").stamp is None
    assert scanner.inspect("file.mov").stamp == Stamp(10, LONG_AGO)
    assert scanner.inspect("link").stamp is None


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_a_failure(tmp_path: Path, sent: SentFiles) -> None:
    plant(tmp_path, "sub/a.mov")
    (tmp_path / "sub").chmod(0)
    scanner = FolderScanner(str(tmp_path), patterns((), ()), sent)
    assert [path for findings in scanner.scan() for path, _ in findings.failures] == ["sub"]
    (tmp_path / "sub").chmod(0o700)


def test_what_vanishes_while_it_is_read_is_no_failure(
    tmp_path: Path, sent: SentFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(tmp_path, "a.mov b/c.mov")
    monkeypatch.setattr(f"{watch_scan.__name__}.read_folder", reading_late(tmp_path))
    scanner = FolderScanner(str(tmp_path), patterns((), ()), sent)
    assert [findings.failures for findings in scanner.scan()] == [[]]


def reading_late(root: Path) -> object:
    """Return a `read_folder` before which the folder `b` is removed."""

    def read(tree: object, folder: str, is_whole: bool, matcher: object) -> object:
        if folder == "b":
            (root / "b" / "c.mov").unlink()
            (root / "b").rmdir()
        return read_folder(tree, folder, is_whole, matcher)  # type: ignore[arg-type]

    return read


def test_a_root_that_is_away_is_an_error_and_one_that_returns_has_another_id(tmp_path: Path, sent: SentFiles) -> None:
    root = plant(tmp_path / "in", "a.mov")
    scanner = FolderScanner(str(root), patterns((), ()), sent)
    before = scanner.identify()
    os.rename(root, tmp_path / "away")
    with pytest.raises(SourceError) as caught:
        scanner.identify()
    assert caught.value.is_away
    with pytest.raises(SourceError):
        list(scanner.scan())
    root.mkdir()
    assert scanner.identify() != before
    root.rmdir()
    os.rename(tmp_path / "away", root)
    assert scanner.identify() == before
    assert scanner.is_shared() is False


@pytest.mark.skipif(sys.platform == "win32", reason="its names are normalized by nobody")
def test_names_that_only_look_the_same_are_told_apart(tmp_path: Path, sent: SentFiles) -> None:
    composed, decomposed = "caf\u00e9.mov", "cafe\u0301.mov"
    plant(tmp_path, {composed: 1, "sub/" + composed: 1})
    scanner = FolderScanner(str(tmp_path), patterns((), ()), sent)
    assert not scanner.inspect(composed).has_look_alike
    assert not scanner.inspect("sub/" + composed).has_look_alike
    plant(tmp_path, {"sub/" + decomposed: 1})
    twice = len(os.listdir(tmp_path / "sub")) == 2  # not where the file system takes both for one
    assert scanner.inspect("sub/" + composed).has_look_alike is twice
    assert scanner.inspect("sub/" + decomposed).has_look_alike is twice
    assert not scanner.inspect(composed).has_look_alike

"""The name of a file at Frame.io is a path's own name unchanged, or a foreign name without harmful characters."""

from __future__ import annotations

import os
import sys
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath

import pytest

from aioframeio_upload import SourceError, Uploader
from aioframeio_upload._io.source_kinds import own_name
from aioframeio_upload.testing import FakeFrameio
from tests.conftest import on_disk

posix = pytest.mark.skipif(sys.platform == "win32", reason="as POSIX has it")

DATA = b"0123456789"

ODD_NAMES = (
    "Screenshot at 11.48.07\u202fAM.png",  # macOS since Ventura
    "\u00a0no break\u00a0",
    "\u30c6\u30a4\u30af\u300007.mov",
    "soft\u00adhyphen.mov",
    "private\uf022use\U000f0001.mov",  # what SMB makes of a quotation mark
    "zero\u200cwidth\u200djoiners\u200b\u2060\ufeff.mov",
    "family \U0001f468\u200d\U0001f469\u200d\U0001f467.mov",
    "newer \U0001fae9\U0001f6d8 than this Python.mov",
    "line\u2028separator.mov",
    "cafe\u0301.mov",
)
"""Names that people have; each with a character that `str.isprintable` refuses, or nearly."""


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("AC\\DC.mov", "DC.mov"),
        *((name, name) for name in ODD_NAMES),
        ("a\u2066b\u2069\u061c\u200e\u200fc.mov", "abc.mov"),
        ("a\x85\x9fb.mov", "ab.mov"),
        ("..\u200e/..\u200e\\b.mov", "b.mov"),
    ],
)
async def test_a_given_name_loses_what_could_do_harm_and_nothing_else(
    fake: FakeFrameio, uploader: Uploader, given: str, kept: str
) -> None:
    upload = uploader.upload(b"x", name=given, folder_id=fake.folder_id)
    assert upload.name == kept
    assert (await upload).name == fake.files[0].name == kept
    remote = await uploader.remote_upload("https://example.com/x", name=given, folder_id=fake.folder_id)
    assert remote.name == kept


class Form:
    """Like Starlette's UploadFile, whose name comes from a stranger's browser."""

    def __init__(self, filename: str) -> None:
        self.filename = filename

    async def read(self, n: int = -1) -> bytes:
        return b""


async def test_the_name_of_an_object_is_as_hostile_as_a_given_one(fake: FakeFrameio, uploader: Uploader) -> None:
    for told, kept in (("C:\\Users\\x\\y.mov", "y.mov"), ("../\u202ea.mov", "a.mov"), *((n, n) for n in ODD_NAMES)):
        upload = uploader.upload(Form(told), size=1, folder_id=fake.folder_id)
        assert upload.name == kept
        upload.cancel()
    with pytest.raises(ValueError, match="surrogate"):
        uploader.upload(Form("a\udce9.mov"), size=1, folder_id=fake.folder_id)
    with pytest.raises(ValueError, match="surrogate"):
        uploader.upload(b"x", name="a\udce9.mov", folder_id=fake.folder_id)
    assert fake.requests == []


@posix
@pytest.mark.parametrize(
    "name", [*ODD_NAMES, "AC\\DC.mov", "C:\\take.mov", " take ", "new\nline\x1b\x7f.mov", "\u202evom.mov"]
)
async def test_a_paths_own_name_goes_as_it_is(fake: FakeFrameio, uploader: Uploader, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    on_disk(path.write_bytes, DATA)
    if on_disk(os.listdir, tmp_path) != [name]:
        pytest.skip("this file system makes another name of it")
    for source in (path, str(path), f"{path}/.."[:-3], f"{tmp_path}/./{name}"):
        assert (await uploader.upload(source, folder_id=fake.folder_id)).name == fake.files[-1].name == name
    assert (await uploader.plan(path, folder_id=fake.folder_id)).name == name
    again = await uploader.upload(path, folder_id=fake.folder_id, conflict="skip")
    assert (again.outcome, again.name) == ("skipped", name)


@posix
async def test_names_that_differ_in_a_character_nobody_sees_are_two_files(
    fake: FakeFrameio, uploader: Uploader, tmp_path: Path
) -> None:
    for name in ("ab.mov", "a\u200bb.mov", "a\u00adb.mov", "a\u202eb.mov", "a\nb.mov"):
        on_disk((tmp_path / name).write_bytes, DATA)
        on_disk(os.utime, tmp_path / name, ns=(10**18, 10**18))
        file = await uploader.upload(tmp_path / name, folder_id=fake.folder_id, conflict="skip")
        assert (file.outcome, file.name) == ("uploaded", name)


@posix
async def test_a_path_whose_name_is_no_text_is_refused_before_anything_is_made(
    fake: FakeFrameio, uploader: Uploader, tmp_path: Path
) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.mov")
    try:
        on_disk(path.write_bytes, DATA)
    except OSError:
        pytest.skip("this file system takes text only")
    upload = uploader.upload(path, folder_id=fake.folder_id)
    assert upload.name == "caf\\xe9.mov"
    for refused in (upload, uploader.plan(path, folder_id=fake.folder_id)):
        with pytest.raises(SourceError, match="is not valid UTF-8") as caught:
            await refused
        assert caught.value.path == f"{tmp_path}/caf\\xe9.mov"
    assert fake.requests == []
    assert (await uploader.upload(path, name="cafe.mov", folder_id=fake.folder_id)).name == "cafe.mov"


@posix
async def test_a_folder_that_has_no_text_for_a_name_can_give_its_contents(
    fake: FakeFrameio, uploader: Uploader, tmp_path: Path
) -> None:
    root = tmp_path / os.fsdecode(b"caf\xe9")
    try:
        on_disk(root.mkdir)
    except OSError:
        pytest.skip("this file system takes text only")
    on_disk((root / "AC\\DC\u202f.mov").write_bytes, DATA)
    with pytest.raises(SourceError, match="is not valid UTF-8"):
        await uploader.upload_folder(root, folder_id=fake.folder_id)
    assert fake.requests == []
    result = await uploader.upload_folder(root, folder_id=fake.folder_id, contents_only=True)
    assert [file.name for file in result.files] == ["AC\\DC\u202f.mov"]


@pytest.mark.parametrize(
    ("path", "kind", "name"),
    [
        ("C:\\a\\b\u202f.mov", PureWindowsPath, "b\u202f.mov"),
        ("C:/a/b.mov", PureWindowsPath, "b.mov"),
        ("\\\\server\\share\\b.mov", PureWindowsPath, "b.mov"),
        ("C:b.mov", PureWindowsPath, "b.mov"),
        ("a\\", PureWindowsPath, "a"),
        ("a/b\\c", PurePosixPath, "b\\c"),
        ("a/b/", PurePosixPath, "b"),
        ("a/b/.", PurePosixPath, "b"),
    ],
)
def test_the_name_of_a_path_is_its_last_component_on_that_system(path: str, kind: type[PurePath], name: str) -> None:
    assert own_name(path, kind) == name

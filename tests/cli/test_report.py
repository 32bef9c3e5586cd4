"""The delivery report: the content of its cells, and how its file is written."""

from __future__ import annotations

import csv
import json
import os
import secrets
import stat
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from aioframeio_upload import UploadedFile
from aioframeio_upload._cli.report import ReportRow, row_of, write_report
from aioframeio_upload._core.model import ChecksumName

MD5 = "0cc175b9c0f1b6a831c399e269772661"


def cells(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


@pytest.mark.parametrize(
    "name",
    ["=cmd|' /C calc'!A0", "+1", "-2+3", "@SUM(1)", "\t=1", "\r=1", "\n=1", " =1", "\uff1d1", "\uff20A"],
)
def test_a_cell_that_a_spreadsheet_would_execute_is_text(tmp_path: Path, name: str) -> None:
    path = tmp_path / "r.csv"
    write_report(path, [ReportRow(source=name, name=name, outcome="failed", error=name, link=name, file_id=name)])
    (row,) = cells(path)
    for column in ("source", "name", "error", "link", "file_id"):
        assert row[column].startswith("'")
        assert row[column][1:].replace("\r\n", "\n") == name.replace("\r\n", "\n")
    write_report(tmp_path / "r.json", [ReportRow(source=name, outcome="failed")])
    assert json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))[0]["source"] == name


@pytest.mark.parametrize("name", ["take-07.mov", "a=b", "1+1", "me@home", "'quoted'", "Ünïcode 映画", ""])
def test_any_other_cell_is_as_it_is(tmp_path: Path, name: str) -> None:
    write_report(tmp_path / "r.csv", [ReportRow(source="s", name=name, outcome="uploaded")])
    assert cells(tmp_path / "r.csv")[0]["name"] == name


@pytest.mark.parametrize("name", ["a\ud800b", "\udce9", os.fsdecode(b"caf\xe9.mov")], ids=ascii)
@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_a_name_that_is_not_text_does_not_spoil_the_report(tmp_path: Path, name: str, suffix: str) -> None:
    path = tmp_path / f"r{suffix}"
    write_report(
        path, [ReportRow(source="a", name=name, outcome="uploaded"), ReportRow(source="b", outcome="uploaded")]
    )
    text = path.read_text(encoding="utf-8")
    rows = json.loads(text) if suffix == ".json" else cells(path)
    assert [row["source"] for row in rows] == ["a", "b"]
    seen = name.encode("utf-8", "backslashreplace").decode()
    assert rows[0]["name"] == (name if suffix == ".json" else seen)


def file_with(checked_by: tuple[ChecksumName | None, ...]) -> UploadedFile:
    crcs = tuple("rosUhgp5mIg=" for _ in checked_by)
    file = UploadedFile("id", "a", 1, "account", "folder", None, None, "uploaded", (MD5,) * len(crcs))
    return replace(file, crc64nvme="rosUhgp5mIg=", part_crc64nvmes=crcs, checked_by=checked_by)


@pytest.mark.parametrize(
    ("checked_by", "checked", "words"),
    [
        (("crc64nvme", "crc64nvme"), True, "crc64nvme"),
        (("md5", "crc64nvme"), True, "crc64nvme md5"),
        (("md5", None), False, "md5"),
        ((None,), False, None),
        ((), False, None),
    ],
)
def test_a_file_is_checked_where_a_checksum_proves_every_part(
    checked_by: tuple[ChecksumName | None, ...], checked: bool, words: str | None
) -> None:
    row = row_of("a", file_with(checked_by))
    assert (row.checked, row.checked_by) == (checked, words)


def test_a_checksum_that_begins_with_a_plus_is_as_s3_shows_it(tmp_path: Path) -> None:
    file = replace(file_with(("crc64nvme",)), crc64nvme="+osUhgp5mIg=", part_crc64nvmes=("+osUhgp5mIg=",))
    write_report(tmp_path / "r.csv", [row_of("a", file)])
    (found,) = cells(tmp_path / "r.csv")
    assert (found["crc64nvme"], found["part_crc64nvmes"]) == ("+osUhgp5mIg=", "+osUhgp5mIg=")


def test_a_report_has_the_checksum_of_the_file_and_those_of_its_parts(tmp_path: Path) -> None:
    rows = [row_of("a", file_with(("crc64nvme", None)))]
    write_report(tmp_path / "r.json", rows)
    write_report(tmp_path / "r.csv", rows)
    (found,) = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert (found["crc64nvme"], found["part_crc64nvmes"]) == ("rosUhgp5mIg=", ["rosUhgp5mIg="] * 2)
    (found,) = cells(tmp_path / "r.csv")
    assert (found["crc64nvme"], found["part_crc64nvmes"]) == ("rosUhgp5mIg=", "rosUhgp5mIg= rosUhgp5mIg=")


# -- its file ----------------------------------------------------------------------------------------------------------

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows makes links for administrators only")


@POSIX
def test_a_planted_link_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if its author knows the name: an existing file is never opened."""
    victim = tmp_path / "victim"
    victim.write_text("precious", encoding="utf-8")
    (tmp_path / f"r.json.{os.getpid()}.part").symlink_to(victim)
    write_report(tmp_path / "r.json", [])
    monkeypatch.setattr(secrets, "token_hex", lambda size: "known")
    (tmp_path / ".known.part").symlink_to(victim)
    with pytest.raises(FileExistsError):
        write_report(tmp_path / "s.json", [])
    assert victim.read_text(encoding="utf-8") == "precious"
    assert not (tmp_path / "s.json").exists()


@POSIX
def test_it_has_the_permissions_of_the_one_that_it_replaces_and_else_the_usual_ones(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    before = os.umask(0o027)
    try:
        write_report(path, [])
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        path.chmod(0o600)
        write_report(path, [])
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["r.json"]


def test_a_name_as_long_as_the_disk_allows_is_written(tmp_path: Path) -> None:
    path = tmp_path / ("r" * 250 + ".json")
    write_report(path, [])
    assert path.read_text(encoding="utf-8") == "[]\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="has no disk that is always full")
def test_if_it_cannot_be_written_the_previous_one_stays(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.mkdir()
    with pytest.raises(OSError, match="directory"):
        write_report(path, [])
    assert os.listdir(tmp_path) == ["r.json"]

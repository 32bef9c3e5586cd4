"""The delivery report: one row per file, as JSON or CSV."""

from __future__ import annotations

import csv
import io
import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from .. import UploadedFile
from .._io.atomic_write import write_atomically
from .format import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRow:
    """What became of one file."""

    source: str
    name: str | None = None
    file_id: str | None = None
    size: int | None = None
    outcome: str
    """`uploaded`, `resumed`, `skipped`, or `failed`."""
    checked: bool = False
    """Every part's ETag is the MD5 of what was sent."""
    md5s: tuple[str | None, ...] = ()
    """One a part, of what was sent."""
    etags: tuple[str | None, ...] = ()
    """One a part, as S3 gave it."""
    link: str | None = None
    error: str | None = None


def row_of(source: str, file: UploadedFile) -> ReportRow:
    """Give the row of a file that is there."""
    return ReportRow(
        source=source,
        name=file.name,
        file_id=file.id,
        size=file.size,
        outcome=file.outcome,
        checked=bool(file.md5s) and all(map(_is_same, file.md5s, file.etags)),
        md5s=file.md5s,
        etags=file.etags,
        link=file.view_url,
    )


def _is_same(md5: str | None, etag: str | None) -> bool:
    return md5 is not None and etag is not None and md5.lower() == etag.lower()


def check_writable(path: Path, option: str, *suffixes: str) -> None:
    """Raise Usage where no such file could be written; better before an upload of hours than after it."""
    if path.suffix.lower() not in suffixes:
        raise Usage(f"{option} takes a file that ends in {' or '.join(suffixes)}")
    if not path.parent.is_dir():
        raise Usage(f"{option}: there is no folder {path.parent}")
    if path.is_dir():
        raise Usage(f"{option}: {path} is a folder")
    if not os.access(path.parent, os.W_OK):
        raise Usage(f"{option}: nothing may be written into {path.parent}")


def write_report(path: Path, rows: list[ReportRow]) -> None:
    """Write the report, as a whole or not at all."""
    told = [asdict(row) for row in rows]
    if path.suffix.lower() == ".json":
        text = json.dumps(told, indent=1) + "\n"
    else:
        lines = io.StringIO(newline="")
        table = csv.DictWriter(lines, [field.name for field in fields(ReportRow)])
        table.writeheader()
        for one in told:
            cells = one | {name: " ".join(word or "-" for word in one[name]) for name in ("md5s", "etags")}
            table.writerow({name: _defused(cell) for name, cell in cells.items()})
        text = lines.getvalue()
    # A name on this disk need not be text, nor one that the service tells; a report that is no UTF-8 would be read by
    # nobody. In JSON they are `\\udce9` as well.
    write_atomically(path, text.encode("utf-8", "backslashreplace"))


FORMULA = "=+-@\N{FULLWIDTH EQUALS SIGN}\N{FULLWIDTH PLUS SIGN}\N{FULLWIDTH HYPHEN-MINUS}\N{FULLWIDTH COMMERCIAL AT}"


def _defused(cell: Any) -> Any:
    """Return a cell that no spreadsheet takes for a formula, which could send the sheet to a stranger.

    OWASP, "CSV Injection": an apostrophe before what begins with such a character, or with a tab or a line end.
    """
    if not isinstance(cell, str):
        return cell
    begins = cell.lstrip()[:1]
    return f"'{cell}" if cell[:1] in ("\t", "\r", "\n") or (begins and begins in FORMULA) else cell

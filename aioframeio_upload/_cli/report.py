"""Write the delivery report: one row for each file, as JSON or CSV."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from .. import UploadedFile
from .._io.atomic_write import write_atomically


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRow:
    """The outcome for one file."""

    source: str
    name: str | None = None
    file_id: str | None = None
    size: int | None = None
    outcome: str
    """`uploaded`, `resumed`, `skipped`, or `failed`."""
    checked: bool = False
    """Whether a checksum of S3's proves every part."""
    checked_by: str | None = None
    """The checksums that prove the parts, as in `crc64nvme`."""
    crc64nvme: str | None = None
    """Of the whole file, in base64; combined from those of the parts that were sent."""
    part_crc64nvmes: tuple[str | None, ...] = ()
    """One for each part, in base64, of the bytes that were sent."""
    md5s: tuple[str | None, ...] = ()
    """One for each part, of the bytes that were sent."""
    etags: tuple[str | None, ...] = ()
    """One for each part, as S3 returned it."""
    link: str | None = None
    error: str | None = None


COMPUTED = ("crc64nvme", "part_crc64nvmes", "md5s")
"""Computed here, so that they are no formula, although base64 may begin with a plus."""

PER_PART = ("part_crc64nvmes", "md5s", "etags")


def row_of(source: str, file: UploadedFile) -> ReportRow:
    """Return the row of a file that has arrived."""
    return ReportRow(
        source=source,
        name=file.name,
        file_id=file.id,
        size=file.size,
        outcome=file.outcome,
        checked=bool(file.checked_by) and None not in file.checked_by,
        checked_by=" ".join(sorted({name for name in file.checked_by if name is not None})) or None,
        crc64nvme=file.crc64nvme,
        part_crc64nvmes=file.part_crc64nvmes,
        md5s=file.md5s,
        etags=file.etags,
        link=file.view_url,
    )


def write_report(path: Path, rows: list[ReportRow]) -> None:
    """Write the report atomically, in the format of the path's suffix."""
    records = [asdict(row) for row in rows]
    if path.suffix.lower() == ".json":
        text = json.dumps(records, indent=1) + "\n"
    else:
        lines = io.StringIO(newline="")
        table = csv.DictWriter(lines, [field.name for field in fields(ReportRow)])
        table.writeheader()
        for record in records:
            cells = record | {name: " ".join(word or "-" for word in record[name]) for name in PER_PART}
            table.writerow({name: cell if name in COMPUTED else defuse(cell) for name, cell in cells.items()})
        text = lines.getvalue()
    # File names may contain bytes that are not UTF-8 (surrogates in Python). They are escaped, or no program could read
    # the report; JSON writes them as `\\udce9` anyway.
    write_atomically(path, text.encode("utf-8", "backslashreplace"))


FORMULA = "=+-@\N{FULLWIDTH EQUALS SIGN}\N{FULLWIDTH PLUS SIGN}\N{FULLWIDTH HYPHEN-MINUS}\N{FULLWIDTH COMMERCIAL AT}"


def defuse(cell: Any) -> Any:
    """Return a cell that no spreadsheet evaluates as a formula, which could send the sheet to a stranger.

    As OWASP advises ("CSV Injection"): an apostrophe before a cell that begins with one of these characters, a tab or
    a line end.
    """
    if not isinstance(cell, str):
        return cell
    begins = cell.lstrip()[:1]
    return f"'{cell}" if cell[:1] in ("\t", "\r", "\n") or (begins and begins in FORMULA) else cell

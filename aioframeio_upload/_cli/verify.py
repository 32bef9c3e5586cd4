"""The command `verify`: compare files here with the originals at Frame.io."""

from __future__ import annotations

import asyncio
import csv
import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from .. import NotFound, Uploader, UploadError, Verification
from . import exit_status
from .account import with_account
from .format import escape, format_error
from .options import read_file_id
from .output import write_error, write_json, write_line
from .report import defuse
from .service import Service


@dataclass(frozen=True, slots=True)
class Pair:
    """A file here, and the file at Frame.io that should be the same."""

    path: Path
    file_id: str
    sent: str | None = None
    """The CRC64NVME of what was sent, from a report."""


def read_pairs(path: str | None, file_id: str | None, report: str | None, root: str) -> list[Pair]:
    """Return what to compare: the two that were given, or every file that a report has.

    Raises:
        UsageError: FILE_ID is none.
        typer.BadParameter: The arguments do not say what to compare, or the report cannot be read.
    """
    if report is None:
        if path is None or file_id is None:
            raise typer.BadParameter("give PATH and FILE_ID, or --report")
        return [Pair(Path(path), read_file_id(file_id))]
    if path is not None:
        raise typer.BadParameter("give PATH and FILE_ID, or --report, and not both")
    try:
        rows = _read_rows(Path(report))
        return [
            Pair(Path(root, str(row["source"])), str(row["file_id"]), row.get("crc64nvme") or None)
            for row in rows
            if row.get("file_id") and row.get("outcome") != "failed"
        ]
    except OSError as error:
        raise typer.BadParameter(f"{report}: {error.strerror or type(error).__name__}; check the path") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise typer.BadParameter(f"{report} is not a report that `upload --report` wrote") from None


def _read_rows(path: Path) -> list[dict[str, Any]]:
    if path.suffix.lower() == ".json":
        rows = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(rows, list):
            raise ValueError("not a list")
        return rows
    with path.open(newline="", encoding="utf-8") as lines:
        return [{name: _restore(cell) for name, cell in row.items()} for row in csv.DictReader(lines)]


def _restore(cell: Any) -> Any:
    """Return a cell without the apostrophe that keeps a spreadsheet from evaluating it."""
    is_defused = isinstance(cell, str) and cell.startswith("'") and defuse(cell[1:]) == cell
    return cell[1:] if is_defused else cell


async def run_verify(service: Service, pairs: list[Pair], as_json: bool) -> int:
    """Compare each pair and print what is proved, and of a report the counts.

    The exit status is 1 if any differs or cannot be compared.
    """
    service = await with_account(service)
    if not pairs:
        await asyncio.to_thread(write_error, "error: nothing to compare: the report has no file that was delivered")
    async with service.uploader() as uploader:
        outcomes = [await _compare(uploader, pair, as_json) for pair in pairs]
    if len(pairs) > 1 and not as_json:
        await asyncio.to_thread(write_line, _summary(outcomes))
    return exit_status.OK if pairs and set(outcomes) <= {SAME, SAME_SIZE} else exit_status.FAILED


SAME, SAME_SIZE, DIFFERENT, MISSING, UNKNOWN = OUTCOMES = (
    "same",
    "of the same size (contents cannot be compared)",
    "DIFFERENT",
    "missing at Frame.io",
    "could not be compared",
)


def _summary(outcomes: list[str]) -> str:
    """Return how many files had each outcome, for the last line."""
    counts = [(outcomes.count(one), one) for one in OUTCOMES]
    return ", ".join(f"{count} {one}" for count, one in counts if count or one == SAME)


async def _compare(uploader: Uploader, pair: Pair, as_json: bool) -> str:
    try:
        found = await uploader.verify(pair.file_id, pair.path)
    except UploadError as error:
        await asyncio.to_thread(write_error, f"error: {pair.path}: {format_error(error, str(pair.path))}")
        return MISSING if isinstance(error, NotFound) else UNKNOWN
    is_sent = None if pair.sent is None or found.crc64nvme is None else pair.sent == found.crc64nvme
    if as_json:
        record = {"path": str(pair.path), "file_id": pair.file_id, **dataclasses.asdict(found), "is_sent": is_sent}
        await asyncio.to_thread(write_json, json.dumps(record))
    else:
        await asyncio.to_thread(write_line, f"{escape(str(pair.path))}: {describe(found, is_sent)}")
    if not found.is_same or is_sent is False:
        return DIFFERENT
    return SAME_SIZE if found.proved_by is None else SAME


def describe(found: Verification, is_sent: bool | None) -> str:
    """Return what a comparison proves, in words."""
    if not found.size:
        return "DIFFERENT: another size"
    if is_sent is False:
        return "DIFFERENT: its CRC64NVME is not that of what was sent"
    if found.checksum is False:
        return "DIFFERENT: the same size, another checksum"
    sent = "; its CRC64NVME is that of what was sent" if is_sent else ""
    proofs = {
        "crc64nvme": "the same content, by the CRC64NVME of the original",
        "etag": "the same content, by the ETag of the original",
    }
    return proofs.get(found.proved_by or "", "the same size; the content of the original cannot be compared") + sent

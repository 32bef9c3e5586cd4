"""Describe one upload: its source, its destination, and what is known before it begins."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Protocol

from .._core.listing import Compare, Conflict
from .._core.model import Plan, Receipt
from .._io.flow_control import PauseGate
from .._io.session import Session
from .._io.source_kinds import Source
from .._io.sources import OpenSource
from .event_log import PartEventSink
from .parts import PartSender
from .resume import NullJournalSession


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadRequest:
    """One upload as the caller described it. Checked by the Uploader's methods; read by the job."""

    source: Source = field(repr=False)
    """Not shown: bytes may be gigabytes."""
    name: str
    folder_id: str | None
    """None for a plan that does not contain it, and until it is known for a project."""
    account_id: str
    """Empty until it is submitted: then the Uploader's default is filled in."""
    size: int | None = None
    """As declared by the caller."""
    media_type: str | None = None
    conflict: Conflict = "create"
    compare: Compare = "auto"
    plan: Plan | None = None
    """The plan to send by; None to create a file and get one."""
    origin: str | None = None
    """File ID of the plan that the caller passed to `execute`. It stays part of the upload's identity in the journal
    when that plan is replaced, and after the process that had the plan has ended."""
    receipts: tuple[Receipt, ...] | None = None
    """Receipts of parts that arrived earlier, if the caller keeps the record; then the caller owns the file too."""
    project_id: str | None = None
    """The project whose root folder is the target, as long as `folder_id` is not known."""
    file_id: str | None = None
    """File ID that is known before the first event: that of a plan, or of a journal entry."""


class PartSenderFactory(Protocol):
    """Make the sender of a plan's parts: in this process, or on other machines."""

    def __call__(  # noqa: PLR0913  # the signature of a constructor whose arguments have different owners
        self,
        plan: Plan,
        source: OpenSource,
        resources: Session,
        feed: PartEventSink,
        gate: PauseGate,
        *,
        record: NullJournalSession | None = None,
        done: Collection[Receipt] = (),
    ) -> PartSender:
        """Return a sender that has not begun."""
        ...

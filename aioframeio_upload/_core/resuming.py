"""Decide how the next run continues a recorded upload, and what an upload that ends early leaves behind."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from .errors import IntegrityError, PartRejected, SourceError
from .journal import Entry, Fingerprint
from .model import Plan, UploadStatus, find_insecure
from .presigned import link_lifetime


class ResumeAction(Enum):
    """How the next run continues with an entry."""

    RESUME = "send the missing parts"
    CONFIRM = "every part arrived: only ask for the file"
    REPLACE = "delete the placeholder and start over"
    FORGET = "keep the file, if there is one, and start over"


@dataclass(frozen=True, slots=True)
class Resumption:
    """A decision about an entry, and the reason."""

    step: ResumeAction
    reason: str = ""
    """Why the upload starts over; empty if it does not."""


def next_step(
    entry: Entry,
    fingerprint: Fingerprint | None,
    status: UploadStatus | None,
    now: datetime | None,
    *,
    secure: bool = False,
) -> Resumption:
    """Decide how to continue with an entry.

    Args:
        entry: The recorded upload.
        fingerprint: The source's fingerprint now; None if it can no longer be sent.
        status: The status of the file at the service; None if there is no such file.
        now: The service's time; None if it is not known yet.
        secure: Whether the API is https, so that links must be as well.
    """
    if status is None:
        return Resumption(ResumeAction.FORGET, "Frame.io has no such file any more")
    # The last receipt may have been lost with the process, so the service's status counts too.
    arrived = entry.is_whole or status.complete
    if fingerprint != entry.fingerprint:
        reason = "the source has changed since"
        if arrived:
            return Resumption(ResumeAction.FORGET, f"{reason}; the file that had arrived stays")
        return Resumption(ResumeAction.REPLACE, reason)
    obstacle = ""
    if status.failed:
        obstacle = "Frame.io says that its upload failed"
    elif _have_expired(entry.plan, now):
        obstacle = "its links have expired, or are about to"
    elif secure and find_insecure(entry.plan, is_own=False) is not None:
        obstacle = "its links are http, and the API is https"
    # Receipts without proof (see `Receipt.is_proved`) suffice only while the parts could be sent again if the service
    # turns out not to have them.
    if status.complete or entry.is_proved or (arrived and not obstacle):
        return Resumption(ResumeAction.CONFIRM)
    return Resumption(ResumeAction.REPLACE, obstacle) if obstacle else Resumption(ResumeAction.RESUME)


def _have_expired(plan: Plan, now: datetime | None) -> bool:
    """Return whether a plan's links have expired or are about to; False if unknown, so that S3 decides."""
    life = link_lifetime(part.url for part in plan.parts)
    if life is None or now is None:
        return False
    # Both instants come from the API's clock. Plans of other tools have no `received_at`: then the signing time counts.
    spent = (now - (plan.received_at or life.signed_at)).total_seconds()
    return life.seconds - spent <= life.margin


def is_kept(error: BaseException, *, whole: bool, recorded: bool, given_up: bool) -> bool:
    """Return whether the file at the service and its entry are kept when an upload ends early.

    Args:
        error: The error or cancellation that ended it.
        whole: Every part was acknowledged.
        recorded: There is an entry, so the upload can be resumed.
        given_up: Ended by `Upload.cancel()`.
    """
    if isinstance(error, SourceError):
        # A source that is away may come back unchanged, which the next run checks. Otherwise even a file whose parts
        # have all arrived is deleted: its bytes may be a mixture of two versions.
        return error.is_away and recorded and not given_up
    return whole or (recorded and not given_up and not isinstance(error, PartRejected | IntegrityError))

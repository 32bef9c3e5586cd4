"""Whether S3 has what was sent: when an ETag that is no MD5 means a fault, and when only that a host makes none."""

from __future__ import annotations

from dataclasses import dataclass, field

from .faults import Kind
from .model import Receipt
from .retry import Fault


@dataclass(slots=True)
class EtagTrust:
    """What is known of the hosts' ETags. Owned by an Uploader.

    A host on which no ETag ever was the MD5, and on which the same part's differs twice, does not make MD5s (a bucket's
    encryption does that): the check is off for it from then on.
    """

    proven: set[str] = field(default_factory=set)
    """Hosts on which one has matched."""
    off: set[str] = field(default_factory=set)
    """Hosts on which none did, and that are not checked any more."""

    def believe(self, host: str, outcome: Receipt | Fault, *, doubted: bool) -> Receipt | None:
        """Give the receipt of a part that S3 has, or None where it must be sent again.

        Args:
            host: Where it was sent.
            outcome: What the attempt came to.
            doubted: Whether an earlier attempt at the same part had another ETag than its MD5.
        """
        if isinstance(outcome, Receipt):
            if outcome.md5 is not None and outcome.etag is not None and outcome.md5 == outcome.etag.lower():
                self.proven.add(host)
            return outcome
        if outcome.kind is not Kind.ETAG or host in self.proven:
            return None
        if doubted:
            self.off.add(host)
        return outcome.receipt if host in self.off else None

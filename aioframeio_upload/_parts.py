"""Some parts of a plan that the caller keeps."""

from __future__ import annotations

from collections.abc import Collection

from ._core.errors import PlanError
from ._core.model import Plan, Receipt
from ._feed import Feed
from ._io.gate import Gate
from ._io.kinds import Source
from ._io.resources import Resources
from ._io.source import OpenSource, open_source
from ._transfer import Transfer, tell_unproved


async def send_some(plan: Plan, source: Source, numbers: Collection[int], resources: Resources) -> tuple[Receipt, ...]:
    """Send only those parts of a plan; nothing is deleted, for others may be sending the rest."""
    if not numbers:
        return ()
    found = await open_parts(source, plan, resources, numbers)
    try:
        receipts = await Transfer(plan, found, resources, Feed(), Gate(), numbers).run()
    finally:
        found.close()
    tell_unproved(plan.name, receipts, "only the file's confirmation can prove that S3 has them")
    return receipts


async def open_parts(
    source: Source, plan: Plan, resources: Resources, numbers: Collection[int] | None = None
) -> OpenSource:
    """Open a source for those parts, or for all: a stream holds their bytes alone, everything else the whole file.

    Raises:
        SourceError: It is missing, unreadable, empty or no file, or is read by another upload.
        PlanError: The plan is for another size.
    """
    size = sum(part.size for part in plan.parts if numbers is None or part.number in numbers)
    found = await open_source(source, None, resources.executor, resources.spool, stream_size=size)
    try:
        check_fit(plan, found)
    except PlanError:
        found.close()
        raise
    return found


def check_fit(plan: Plan, source: OpenSource) -> Plan:
    """Give the plan back if it is one for a source of that size; a stream's shows as it is read."""
    if source.replayable and plan.size != source.size:
        raise PlanError(f"the plan is for {plan.size} bytes, the source has {source.size}")
    return plan

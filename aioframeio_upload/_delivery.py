"""One upload from its start to its end: open, plan, send, confirm; and what is left behind where it ends early."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from ._confirm import confirm
from ._core.errors import PlanError, SourceError
from ._core.events import UploadPlanned
from ._core.model import Plan, Receipt, UploadedFile
from ._feed import Feed
from ._io.api import Api
from ._io.resources import Resources
from ._io.source import OpenSource, Source, open_source
from ._planner import DELETE_AFTER_ERROR, DELETE_WHEN_CANCELLED, delete_placeholder
from ._transfer import Transfer


async def deliver(
    source: Source,
    size: int | None,
    make_plan: Callable[[OpenSource], Awaitable[Plan]],
    account_id: str,
    feed: Feed,
    resources: Resources,
    api: Api,
) -> UploadedFile:
    """Upload a source.

    Nothing is opened or created before one of `Limits.files` is free: ten thousand uploads begun at once hold no ten
    thousand files, and make no ten thousand placeholders whose links age. Waiting for confirmation needs none.

    Args:
        source: What is sent.
        size: What a stream is taken to have.
        make_plan: Gives the plan for what was found.
        account_id: Whose file it is.
        feed: Where it is told.
        resources: What it may use.
        api: Frame.io.
    """
    async with resources.file_slots:
        found = await open_source(source, size, resources.executor, resources.spool)
        try:
            plan = await make_plan(found)
            receipts = await _send(plan, found, account_id, feed, resources, api)
        finally:
            found.close()
    return await confirm(api, plan, account_id, resources.timeouts.confirm_for(plan.size), receipts)


async def _send(
    plan: Plan, source: OpenSource, account_id: str, feed: Feed, resources: Resources, api: Api
) -> tuple[Receipt, ...]:
    """Send every part; where that ends early, remove the placeholder, which nobody can go on with."""
    arrived = False
    try:
        feed.publish(UploadPlanned(plan.file_id, plan.name, plan.view_url, plan.size, len(plan.parts)))
        receipts = await Transfer(plan, source, resources, feed).run()
        arrived = True
        await source.check()
    except BaseException as error:
        # A file of which every part was acknowledged stays, whatever comes next; unless its bytes are a mixture.
        if not arrived or isinstance(error, SourceError):
            cancelled = isinstance(error, asyncio.CancelledError)
            seconds = DELETE_WHEN_CANCELLED if cancelled else DELETE_AFTER_ERROR
            await delete_placeholder(api, plan.file_id, account_id, seconds)
        raise
    return receipts


async def send_some(plan: Plan, source: Source, numbers: Iterable[int], resources: Resources) -> tuple[Receipt, ...]:
    """Send only those parts of a plan; nothing is deleted, for others may be sending the rest."""
    found = await open_source(source, plan.size, resources.executor, resources.spool)
    try:
        check_fit(plan, found)
        return await Transfer(plan, found, resources, Feed(), numbers).run()
    finally:
        found.close()


def check_fit(plan: Plan, source: OpenSource) -> Plan:
    """Give the plan back if it is one for a source of that size."""
    if plan.size != source.size:
        raise PlanError(f"the plan is for {plan.size} bytes, the source has {source.size}")
    return plan

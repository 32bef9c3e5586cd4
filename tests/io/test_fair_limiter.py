"""Slots are shared fairly between uploads, and their number may change at any time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from aioframeio_upload._io.fair_limiter import FairLimiter


class Asked:
    """Those who asked a limiter for slots, in the order in which they got them."""

    def __init__(self, limiter: FairLimiter) -> None:
        self.limiter = limiter
        self.got: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def ask(self, *uploads: str) -> None:
        """Let somebody ask, and wait until all have."""
        for upload in uploads:
            self.tasks.append(asyncio.create_task(self._one(upload)))
        await asyncio.sleep(0)

    async def _one(self, upload: str) -> None:
        await self.limiter.acquire(upload)
        self.got.append(upload)

    async def give_back(self, upload: str) -> None:
        """Return a slot, and wait until the next has it."""
        self.limiter.release(upload)
        await asyncio.sleep(0)


@asynccontextmanager
async def asked(total: int, first: int | None = None) -> AsyncIterator[Asked]:
    found = Asked(FairLimiter(total, first))
    yield found
    for task in found.tasks:
        task.cancel()
    await asyncio.gather(*found.tasks, return_exceptions=True)


async def test_a_small_file_does_not_wait_behind_a_large_one() -> None:
    async with asked(4) as them:
        await them.ask(*["large"] * 30, "small")
        await them.give_back("large")
        await them.give_back("large")
        assert "small" in them.got[4:6]


async def test_a_large_file_is_not_starved_by_many_small_ones() -> None:
    async with asked(4) as them:
        await them.ask(*["large"] * 30, *map(str, range(100)))
        served = 0
        while len(them.got) < 44:
            await them.give_back(them.got[served])
            served += 1
        assert 18 <= Counter(them.got[4:])["large"] <= 22, "half of the slots that became free"


async def test_when_the_number_falls_nobody_gets_a_slot_until_fewer_are_held() -> None:
    async with asked(8) as them:
        await them.ask(*["a"] * 10)
        them.limiter.total = 4
        for held in (7, 6, 5, 4):
            await them.give_back("a")
            assert (them.limiter.in_use, len(them.got)) == (held, 8)
        them.limiter.total = 5
        await asyncio.sleep(0)
        assert (them.limiter.in_use, len(them.got), them.limiter.waiting) == (5, 9, 1)


async def test_when_the_number_grows_while_more_are_held_nobody_is_admitted() -> None:
    async with asked(8) as them:
        await them.ask(*["a"] * 10)
        them.limiter.total = 2
        them.limiter.total = 8
        await asyncio.sleep(0)
        assert (them.limiter.in_use, them.limiter.waiting) == (8, 2)


@pytest.mark.parametrize("admitted", [False, True])
async def test_a_cancelled_waiter_leaves_its_place_or_its_slot_to_the_next(admitted: bool) -> None:
    async with asked(1) as them:
        await them.ask("a", "b", "c")
        first = them.tasks[1]
        if admitted:
            them.limiter.release("a")
            first.cancel()
        else:
            first.cancel()
            them.limiter.release("a")
        await asyncio.wait(them.tasks, timeout=5)
        assert them.got == ["a", "c"]
        assert (them.limiter.in_use, them.limiter.waiting) == (1, 0)


async def test_those_who_hold_their_first_slot_for_long_keep_nobody_out() -> None:
    async with asked(2, first=8) as them:
        await them.ask(*["fast"] * 4)
        assert them.got == ["fast"] * 2
        await them.ask("slow", "slower", "slowest")
        assert them.got[2:] == ["slow", "slower", "slowest"]
        await them.give_back("fast")
        assert them.got[5:] == ["fast"]
        await them.ask(*"abcd")
        assert them.got[6:] == ["a", "b", "c"], "there are eight at most"
        await them.give_back("slow")
        assert them.got[9:] == ["d"]


async def test_with_as_many_first_slots_as_slots_it_is_one_number() -> None:
    async with asked(3, first=3) as them:
        await them.ask("large", "large", "large", "large", "small")
        assert them.got == ["large"] * 3
        await them.give_back("large")
        assert them.got[3:] == ["small"]

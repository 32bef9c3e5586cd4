"""Test the order and the sharing of API calls that wait for their turn."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from aioframeio_upload import Limits, RetryPolicy
from aioframeio_upload._io.api_pace import ApiPace
from aioframeio_upload.testing import FakeFrameio
from tests.conftest import uploader_on

PACED = Limits(api_pacing=True)
FAST = {"x-ratelimit-limit": "1000", "x-ratelimit-remaining": "999", "x-ratelimit-window": "1000"}


async def make(pace: ApiPace, order: list[str], name: str, *, is_again: bool = False) -> None:
    async with pace.turn("create", 1, 0.02, is_again=is_again) as turn:
        order.append(name)
        turn.observe(201, {}, 0.0, None)


async def test_calls_go_in_the_order_in_which_they_came() -> None:
    pace, order = ApiPace(), list[str]()
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        for name in "abcd":
            group.create_task(make(pace, order, name))
    assert "".join(order) == "abcd"


async def test_a_refused_call_goes_before_calls_that_were_not_made_yet() -> None:
    pace, order = ApiPace(), list[str]()
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        for name in "abcd":
            group.create_task(make(pace, order, name))
        group.create_task(make(pace, order, "again", is_again=True))
    assert order.index("again") <= 2


async def test_a_call_that_is_cancelled_while_it_waits_costs_the_others_nothing() -> None:
    pace, order = ApiPace(), list[str]()
    async with asyncio.timeout(10):
        await make(pace, order, "first")
        waiting = [asyncio.create_task(make(pace, order, name)) for name in "abc"]
        await asyncio.sleep(0)
        for task in waiting[:2]:
            task.cancel()
        await asyncio.wait(waiting)
    assert order == ["first", "c"]
    assert [task.cancelled() for task in waiting] == [True, True, False]


async def test_operations_do_not_wait_for_each_other() -> None:
    pace = ApiPace()
    async with (
        asyncio.timeout(5),
        pace.turn("create", 1, 60, is_again=False),
        pace.turn("status", 1, 60, is_again=False),
    ):
        pass


async def test_an_answer_wakes_the_calls_that_waited_for_it() -> None:
    """The second call waits until the first is answered, for a second at most; the answer comes at once."""
    pace, order = ApiPace(), list[str]()
    async with asyncio.timeout(10):
        async with pace.turn("create", 1000, 1, is_again=False) as turn:
            second = asyncio.create_task(make(pace, order, "second"))
            await asyncio.sleep(0)
            assert order == []
            turn.observe(201, FAST, 0.0, None)
        await second
    assert order == ["second"]


async def test_leading_zeros_of_a_limit_do_not_count() -> None:
    pace = ApiPace()
    async with pace.turn("create", 5, 1, is_again=False) as turn:
        turn.observe(201, FAST | {"x-ratelimit-limit": "000000007"}, 0.0, None)
        assert turn._rate.limit == 7


@pytest.mark.parametrize("value", ["", "five", "-1", "\u0665", "9" * 12, "0" * 5000])
async def test_headers_that_are_no_numbers_count_as_absent(value: str) -> None:
    pace = ApiPace()
    async with pace.turn("create", 5, 1, is_again=False) as turn:
        turn.observe(201, FAST | {"x-ratelimit-limit": value}, 0.0, None)
        assert turn._rate.limit == 5


async def test_two_uploaders_of_one_process_share_the_limit_without_a_failure() -> None:
    """They have one token and know nothing of each other, as two processes do."""
    async with FakeFrameio() as fake:
        settings: dict[str, Any] = {"limits": PACED, "retry": RetryPolicy(attempts=2)}
        async with uploader_on(fake, **settings) as one, uploader_on(fake, **settings) as other, asyncio.timeout(60):
            uploads = [
                uploader.upload(b"x", name=f"{number}.bin", folder_id=fake.folder_id)
                for number in range(4)
                for uploader in (one, other)
            ]
            await asyncio.gather(*uploads)
        assert len(fake.files) == 8
        assert all(file.complete for file in fake.files)

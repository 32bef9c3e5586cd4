"""Test that a folder which several find missing at the same time is made once."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from aioframeio_upload import PermissionDenied
from aioframeio_upload._io import made_folders
from aioframeio_upload._io.made_folders import MadeFolders
from tests.conftest import other_tasks

PLACE = ("account", "parent", "Dailies")


class Service:
    """Makes a folder once it is allowed to, and counts the requests."""

    def __init__(self, error: Exception | None = None) -> None:
        self.may_answer = asyncio.Event()
        self.requests = 0
        self.ended = 0
        self._error = error

    async def make(self) -> str:
        self.requests += 1
        try:
            await self.may_answer.wait()
        finally:
            self.ended += 1
        if self._error is not None:
            raise self._error
        return f"folder {self.requests}"


async def begun(folders: MadeFolders, service: Service, count: int = 3) -> list[asyncio.Task[tuple[str, bool]]]:
    """Callers that all wait for the answer: a task runs to its first wait in its first turn."""
    looked_at = anyio.current_time()
    callers = [asyncio.create_task(folders.make(PLACE, service.make, looked_at=looked_at)) for _ in range(count)]
    for _ in range(2):  # the callers' turn, and that of the request
        await asyncio.sleep(0)
    assert service.requests == 1
    return callers


async def test_all_get_the_folder_and_one_counts_it_as_new() -> None:
    folders, service = MadeFolders(), Service()
    callers = await begun(folders, service)
    service.may_answer.set()
    found = await asyncio.gather(*callers)
    assert {folder_id for folder_id, _ in found} == {"folder 1"}
    assert sorted(is_new for _, is_new in found) == [False, False, True]


@pytest.mark.parametrize("leaving", [0, 1])
async def test_a_caller_that_is_cancelled_costs_the_others_nothing(leaving: int) -> None:
    folders, service = MadeFolders(), Service()
    callers = await begun(folders, service)
    callers[leaving].cancel()
    with pytest.raises(asyncio.CancelledError):
        await callers.pop(leaving)
    service.may_answer.set()
    found = await asyncio.gather(*callers)
    assert (service.requests, {folder_id for folder_id, _ in found}) == (1, {"folder 1"})
    assert sorted(is_new for _, is_new in found) == [False, True], "whoever began it"


async def test_a_request_that_nobody_waits_for_any_more_has_ended_when_the_last_caller_has() -> None:
    folders, service = MadeFolders(), Service()
    callers = await begun(folders, service)
    for caller in callers:
        caller.cancel()
    await asyncio.wait(callers)
    assert all(caller.cancelled() for caller in callers)
    assert (service.ended, other_tasks()) == (1, set())
    service.may_answer.set()
    assert await folders.make(PLACE, service.make, looked_at=None) == ("folder 2", True)


async def test_a_caller_that_anyio_cancels_ends_the_request_too() -> None:
    folders, service = MadeFolders(), Service()
    async with anyio.create_task_group() as group:

        async def call() -> None:
            await folders.make(PLACE, service.make, looked_at=None)

        group.start_soon(call)
        for _ in range(2):
            await asyncio.sleep(0)
        assert service.requests == 1
        group.cancel_scope.cancel()
    assert (service.ended, other_tasks()) == (1, set())


async def test_an_error_reaches_all_who_wait_and_nobody_who_comes_later() -> None:
    folders, service = MadeFolders(), Service(PermissionDenied("no", operation="create_folder", status=403))
    callers = await begun(folders, service)
    service.may_answer.set()
    errors = await asyncio.gather(*callers, return_exceptions=True)
    assert [type(error) for error in errors] == [PermissionDenied] * 3
    with pytest.raises(PermissionDenied):
        await folders.make(PLACE, service.make, looked_at=None)
    assert service.requests == 2


async def test_what_was_made_counts_for_whoever_looked_before_or_finds_the_parent_new() -> None:
    folders, service = MadeFolders(), Service()
    service.may_answer.set()
    before = anyio.current_time()
    assert await folders.make(PLACE, service.make, looked_at=before) == ("folder 1", True)
    assert await folders.make(PLACE, service.make, looked_at=before) == ("folder 1", False)
    assert await folders.make(PLACE, service.make, looked_at=None) == ("folder 1", False)
    later = anyio.current_time() + 1  # it is missing again, so somebody has deleted it
    assert await folders.make(PLACE, service.make, looked_at=later) == ("folder 2", True)


async def test_names_and_parents_do_not_wait_for_each_other_and_memory_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(made_folders, "REMEMBERED", 3)
    folders, service = MadeFolders(), Service()
    service.may_answer.set()
    for number in range(5):
        place = ("account", f"parent {number % 2}", f"name {number}")
        assert await folders.make(place, service.make, looked_at=None) == (f"folder {number + 1}", True)
    assert len(folders._made) == 3
    assert not folders._making

"""Define what telemetry learns about uploads, API calls and part attempts; by default there is none."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol


class Recording(Protocol):
    """One operation that is recorded: it begins and ends with its block, which never sees an error of the telemetry."""

    def __enter__(self) -> Recording:
        """Begin."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End, with the error that the block ends in."""
        ...

    def learn(self, **attributes: str | int) -> None:
        """Add what became known meanwhile; `__` in a name stands for a dot."""
        ...

    def fail(self, kind: str, reason: str) -> None:
        """Note a failure that the block handles. The reason contains no secret."""
        ...

    def supersede(self) -> None:
        """Note that the block was ended because it was not needed any more: neither a failure nor a success."""
        ...


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """What is known of a request before it is sent. Never its query or token."""

    method: str
    host: str
    port: int | None
    attempt: int
    """From 1."""


class Instrumentation(Protocol):
    """Record what an Uploader does. Shared by all its uploads."""

    def upload(self, name: str, folder_id: str | None) -> Recording:
        """Return the recording of one upload."""
        ...

    def call(self, operation: str, request: RequestFacts) -> Recording:
        """Return the recording of one request to the API."""
        ...

    def part(self, number: int, size: int, request: RequestFacts, slots: float) -> Recording:
        """Return the recording of one attempt at a part; `slots` is the number of parts that may be in flight."""
        ...

    def retried(self, operation: str, count: int) -> None:
        """Note that attempts failed and are made again; `operation` is `part` for parts."""
        ...

    def carry(self) -> Mapping[str, str]:
        """Return the current context in a form that can be sent to another process."""
        ...

    def within(self, carried: Mapping[str, str]) -> AbstractContextManager[None]:
        """Return a block whose recordings are children of a context from another process."""
        ...


class _Nothing:
    """The recording where nobody records."""

    __slots__ = ()

    def __enter__(self) -> _Nothing:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    def learn(self, **attributes: str | int) -> None:
        """Do nothing."""

    def fail(self, kind: str, reason: str) -> None:
        """Do nothing."""

    def supersede(self) -> None:
        """Do nothing."""


_NOTHING = _Nothing()


class NoInstrumentation:
    """Record nothing."""

    __slots__ = ()

    def upload(self, name: str, folder_id: str | None) -> Recording:
        """Return a recording that does nothing."""
        return _NOTHING

    def call(self, operation: str, request: RequestFacts) -> Recording:
        """Return a recording that does nothing."""
        return _NOTHING

    def part(self, number: int, size: int, request: RequestFacts, slots: float) -> Recording:
        """Return a recording that does nothing."""
        return _NOTHING

    def retried(self, operation: str, count: int) -> None:
        """Do nothing."""

    def carry(self) -> Mapping[str, str]:
        """Return nothing to carry."""
        return {}

    def within(self, carried: Mapping[str, str]) -> AbstractContextManager[None]:
        """Return an empty block."""
        return nullcontext()


NO_INSTRUMENTATION = NoInstrumentation()

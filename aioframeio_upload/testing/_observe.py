"""Record the requests that the fake has seen, and wake those who wait for a condition."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType

from multidict import CIMultiDict


@dataclass(slots=True, eq=False)
class SeenRequest:
    """One request, from the moment its headers were read.

    Attributes:
        operation: "part", "create", "status", ...; "unknown" where no route fits.
        method: The HTTP method.
        path: The path, without the query (a part's query is a credential).
        headers: All its headers.
        number: The part's number.
        file_id: The file that the path names.
        status: What was answered; None: nothing yet, or nothing at all.
        bytes_received: Bytes of the body read so far.
    """

    operation: str
    method: str
    path: str
    headers: CIMultiDict[str] = field(repr=False)
    number: int | None = None
    file_id: str | None = None
    status: int | None = None
    bytes_received: int = 0


@dataclass(slots=True)
class Observer:
    """Count connections and requests, and wake waiters at each change, without polling."""

    requests: list[SeenRequest] = field(default_factory=list)
    connections: int = 0
    max_parts_in_flight: int = 0
    max_writes_of_a_part: int = 0
    _parts: dict[SeenRequest, object] = field(default_factory=dict)
    """Those in flight, and the connection of each."""
    _waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = field(default_factory=list)

    def changed(self) -> None:
        """Check the conditions of all waiters again."""
        for condition, future in tuple(self._waiting):
            _check(condition, future)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return once the condition has held, if only for a moment between two changes."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (condition, future)
        _check(condition, future)
        self._waiting.append(entry)
        try:
            await future
        finally:
            self._waiting.remove(entry)

    def closed(self) -> None:
        """Raise RuntimeError in every waiter, because nothing will change any more."""
        for _, future in self._waiting:
            if not future.done():
                future.set_exception(RuntimeError("FakeFrameio was closed"))

    def opened_connection(self) -> None:
        """Count a TCP connection."""
        self.connections += 1
        self.changed()

    def lost_connection(self) -> None:
        """Count a TCP connection as closed."""
        self.connections -= 1
        self.changed()

    def arrived(self, seen: SeenRequest, connection: object) -> None:
        """Record a request whose headers were read."""
        self.requests.append(seen)
        if seen.operation == "part":
            self._parts[seen] = connection
            self.max_parts_in_flight = max(self.max_parts_in_flight, self.parts_in_flight)
            same = sum((other.file_id, other.number) == (seen.file_id, seen.number) for other in self._parts)
            self.max_writes_of_a_part = max(self.max_writes_of_a_part, same)
        self.changed()

    def ended(self, seen: SeenRequest, status: int | None) -> None:
        """Record the status of a request's answer, which may precede the end of its connection; None: no answer."""
        seen.status = status
        self._parts.pop(seen, None)
        self.changed()

    def left(self, connection: object) -> None:
        """Record that a client is gone: its parts no longer count as in flight, even if they are still processed."""
        self._parts = {seen: through for seen, through in self._parts.items() if through is not connection}
        self.changed()

    @property
    def parts_in_flight(self) -> int:
        """Number of part requests that are not answered yet, from clients that are still connected."""
        return len(self._parts)


class _Into:
    """Put exceptions of its block into a future, so that a condition's error is raised where it is awaited."""

    def __init__(self, future: asyncio.Future[None]) -> None:
        self._future = future

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is not None:
            self._future.set_exception(error)
        return True


def _check(condition: Callable[[], bool], future: asyncio.Future[None]) -> None:
    if future.done():
        return
    with _Into(future):
        if condition():
            future.set_result(None)

"""Hold the lists of uploads, one for each browser, and show their rows to the pages that are open."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from uuid import UUID, uuid4

from delivery import Delivery, Service
from kept import SUFFIX, Dropped, Kept

PACE = 0.2
"""Seconds between two messages to a page. What changes meanwhile is sent once: a slow page costs no memory."""

HEARTBEAT = 15.0
"""Seconds after which a message is sent although nothing has changed, so that both sides notice a dead connection."""

log = logging.getLogger("uvicorn.error")


class Watcher:
    """A page that is open: the keys of the rows that have changed since its last message."""

    def __init__(self, keys: set[UUID]) -> None:
        self.keys = keys
        self.woken = asyncio.Event()

    def add(self, key: UUID) -> None:
        """Note that a row has changed."""
        self.keys.add(key)
        self.woken.set()


class Board:
    """All uploads that the server knows. A list has a random ID, which its browser has chosen and nobody can guess.

    Args:
        folder: Where the records are, in one folder for each list.
    """

    def __init__(self, folder: Path, service: Service) -> None:
        self.service = service
        self._folder = folder
        self._lists: dict[UUID, dict[UUID, Delivery]] = {}
        self._watchers: dict[UUID, set[Watcher]] = {}
        self._is_closed = False

    async def open(self) -> None:
        """Read what an earlier server has left, and continue what needs no browser."""
        for name, key, kept in await asyncio.to_thread(self._read):
            delivery = self._add(name, key, kept)
            await asyncio.to_thread(delivery.find_parts)
            if delivery.state == "waiting":
                delivery.go_on()

    def _read(self) -> list[tuple[UUID, UUID, Kept]]:
        self._folder.mkdir(0o700, parents=True, exist_ok=True)
        found = []
        for path in self._folder.glob(f"*/*{SUFFIX}"):
            with suppress(ValueError):  # the name of another program's file
                name, key = UUID(path.parent.name), UUID(path.stem)
                if (kept := Kept.read(path)) is None:
                    log.warning("%s cannot be read", path)
                else:
                    found.append((name, key, kept))
        return sorted(found, key=lambda one: one[2].added_at)

    def _add(self, name: UUID, key: UUID, kept: Kept) -> Delivery:
        delivery = Delivery(key, kept, self.service, lambda: self._show(name, key))
        self._lists.setdefault(name, {})[key] = delivery
        return delivery

    def find(self, name: UUID, key: UUID) -> Delivery | None:
        """Return an upload; None if there is no such one."""
        return self._lists.get(name, {}).get(key)

    async def accept(self, name: UUID, files: list[Dropped]) -> list[UUID]:
        """Return the keys of dropped files: that of the same file in the list, or a new one."""
        there: dict[Dropped, list[UUID]] = {}
        for key, delivery in self._lists.get(name, {}).items():
            there.setdefault(delivery.kept.file, []).append(key)
        # Two files of one drop are two files, even if they look the same.
        seen: Counter[Dropped] = Counter()
        keys, new = [], []
        for file in files:
            known = there.get(file, [])
            if seen[file] < len(known):
                keys.append(known[seen[file]])
                if (delivery := self._lists[name][keys[-1]]).state in ("failed", "cancelled"):
                    await delivery.wish("waiting")
            else:
                keys.append(uuid4())
                new.append((keys[-1], Kept(self._folder / str(name) / f"{keys[-1]}{SUFFIX}", file)))
            seen[file] += 1
        await asyncio.to_thread(write_all, [kept for _, kept in new])
        for key, kept in new:
            self._add(name, key, kept)
            self._show(name, key)
        return keys

    async def remove(self, name: UUID, key: UUID) -> None:
        """Stop an upload, and remove it from its list."""
        delivery = self._lists.get(name, {}).pop(key, None)
        if delivery is not None:
            await delivery.remove()
            self._show(name, key)

    async def sweep(self, before: float) -> None:
        """Remove uploads that nobody has continued since an instant."""
        for name, rows in list(self._lists.items()):
            for key, delivery in list(rows.items()):
                if delivery.task is None and delivery.kept.changed_at < before:
                    await self.remove(name, key)
            if not rows:
                del self._lists[name]
                with suppress(OSError):  # not empty: another program's file
                    (self._folder / str(name)).rmdir()

    def _show(self, name: UUID, key: UUID) -> None:
        for watcher in self._watchers.get(name, ()):
            watcher.add(key)

    async def watch(self, name: UUID) -> AsyncIterator[str]:
        """Yield server-sent events: all rows of a list, then those that have changed, until the server is stopped."""
        watcher = Watcher(set(self._lists.get(name, {})))
        self._watchers.setdefault(name, set()).add(watcher)
        try:
            yield "retry: 500\n\n"
            event = "all"
            while not self._is_closed:
                watcher.woken.clear()
                rows, keys = self._lists.get(name, {}), watcher.keys
                watcher.keys = set()
                found = [rows[key].row() for key in rows if key in keys]
                gone = [str(key) for key in keys if key not in rows]
                yield f"event: {event}\ndata: {json.dumps({'rows': found, 'gone': gone})}\n\n"
                event = "some"
                await asyncio.sleep(PACE)
                with suppress(TimeoutError):
                    await asyncio.wait_for(watcher.woken.wait(), HEARTBEAT)
        finally:
            self._watchers[name].discard(watcher)
            if not self._watchers[name]:
                del self._watchers[name]

    def close(self) -> None:
        """End the streams of all pages, which then connect to the next server."""
        self._is_closed = True
        for watchers in self._watchers.values():
            for watcher in watchers:
                watcher.woken.set()


def write_all(new: list[Kept]) -> None:
    """Write new records."""
    for kept in new:
        kept.path.parent.mkdir(0o700, exist_ok=True)
        kept.clear()

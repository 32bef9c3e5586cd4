"""What is recorded of one upload while it runs: the create response before the first PUT, then every receipt."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable

import anyio

from ._core.errors import JournalError
from ._core.journal import Entry, Fingerprint, Identity
from ._core.model import Plan, Receipt
from ._io.journal import OpenJournal
from ._io.kinds import Source
from ._io.resources import Resources
from ._io.source import OpenSource

log = logging.getLogger("aioframeio_upload")

ERASING = 15.0
"""Seconds to wait until an upload is erased: longer than SQLite waits for others, so that a failure is told."""

WHEN_CANCELLED = 0.4
"""Seconds to wait for that, or to be let go of, in the second in which a cancelled upload ends; it is done all the same
where it takes longer."""


class Record:
    """Of an upload that nothing is recorded of: there is no journal, or no later run could find its source."""

    entry: Entry | None = None
    """What an earlier run has left, until it is gone on with."""
    is_begun = False
    """Whether the file at the service is recorded, so that a later run can go on with it."""

    fingerprint: Fingerprint | None = None
    """The source's, as it is now."""

    async def file_id(self) -> str | None:
        """Look which file is recorded, without taking it."""
        return None

    async def own_again(self) -> None:
        """Take it, where it was let go of with what is recorded in mind."""

    async def look_at(self, source: OpenSource) -> None:
        """Take the source's fingerprint."""

    async def begin(self, plan: Plan) -> None:
        """Record a file that was just created."""

    async def note(self, receipt: Receipt) -> None:
        """Record that S3 has a part."""

    async def drop(self, seconds: float = ERASING) -> None:
        """Erase it all."""

    async def release(self, seconds: float = WHEN_CANCELLED) -> None:
        """Let another process, or another upload, have it."""


class JournalRecord(Record):
    """One upload's place in the journal. Owned by one upload in one process, by `own`."""

    def __init__(
        self, journal: OpenJournal, identity: Identity, media_type: str | None = None, conflict: str = "create"
    ) -> None:
        self._journal = journal
        self._identity = identity
        self._key = identity.key
        self.media_type = media_type
        self.conflict = conflict
        self._file_id: str | None = None
        """The file that is recorded, as far as we know: what another one has begun since is not ours to erase."""
        self._is_owned = False

    async def file_id(self) -> str | None:
        """Look which file is recorded, without taking it.

        Raises:
            JournalError: What is recorded is damaged, or cannot be read.
        """
        entry = await self._journal.find(self._key)
        return None if entry is None else entry.plan.file_id

    async def own(self) -> bool:
        """Take it, and read what an earlier run has left; False where somebody else has it."""
        try:
            if not await self._journal.own(self._key, self):
                return False
            self._is_owned = True
            self.entry = await self._journal.find(self._key)
        except BaseException:
            await self.release()
            raise
        self.is_begun = self.entry is not None
        self._file_id = None if self.entry is None else self.entry.plan.file_id
        return True

    async def own_again(self) -> None:
        """Take it, where it was let go of with what is recorded in mind.

        Raises:
            JournalError: Somebody else has it, or has gone on with it.
        """
        before = self._file_id
        if not self._is_owned and (not await self.own() or self._file_id != before):
            raise self.held()

    def held(self) -> JournalError:
        """Say that somebody else has it."""
        reason = f"the upload of {self._identity.name!r} is another process's, or another upload's, at this moment"
        return JournalError(reason, path=self._journal.path)

    async def look_at(self, source: OpenSource) -> None:
        """Take the source's fingerprint."""
        self.fingerprint = await source.fingerprint()

    async def begin(self, plan: Plan) -> None:
        """Record a file that was just created.

        Raises:
            JournalError: It could not be, and so cannot be gone on with.
        """
        assert self.fingerprint is not None
        # Begun before it is written, for a cancellation does not stop that.
        self.is_begun, self._file_id = True, plan.file_id
        try:
            entry = Entry(self._identity, self.fingerprint, plan, self.media_type, self.conflict)
            await self._journal.begin(entry)
        except JournalError as error:
            self.is_begun = False
            raise JournalError(f"{error.reason}; {plan.name!r} was not begun", path=error.path) from error

    async def note(self, receipt: Receipt) -> None:
        """Record that S3 has a part.

        Raises:
            JournalError: It could not be; a later run sends it again.
        """
        try:
            await self._journal.note(self._key, receipt)
        except JournalError as error:
            reason = f"{error.reason}; {self._identity.name!r} was stopped, and can be gone on with"
            raise JournalError(reason, path=error.path) from error

    async def drop(self, seconds: float = ERASING) -> None:
        """Erase it, links included; where that does not work, say so and go on."""
        file_id, self.is_begun, self.entry, self._file_id = self._file_id, False, None, None
        if file_id is None:
            return
        try:
            await _within(seconds, self._journal.drop(self._key, file_id))
        except JournalError as error:
            log.warning(
                "%r is no longer pending, but could not be erased from the journal: %s", self._identity.name, error
            )

    async def release(self, seconds: float = WHEN_CANCELLED) -> None:
        """Let another process, or another upload, have it."""
        self._is_owned = False
        await _within(seconds, self._journal.release(self))

    def release_later(self) -> None:
        """Let go of it, for a caller that cannot wait."""
        self._journal.release_later(self)


async def _within(seconds: float, step: Awaitable[None]) -> None:
    """Wait for a step of the journal, which goes on by itself where that is over."""
    with anyio.move_on_after(seconds, shield=True):
        await step


async def find_record(
    source: Source,
    resources: Resources,
    *,
    account_id: str,
    folder_id: str | None,
    name: str,
    origin: str | None,
    media_type: str | None,
    conflict: str,
) -> Record:
    """Give an upload's place in the journal, if there is a journal and the source is one that a later run can find."""
    if resources.journal is None or not isinstance(source, str | os.PathLike):
        return Record()
    try:
        told = os.fspath(source)
        path = str(await resources.executor.ask(os.path.realpath, told, path=told))
    except (OSError, ValueError):  # opening it says what is wrong with it
        return Record()
    return JournalRecord(resources.journal, Identity(account_id, folder_id, name, path, origin), media_type, conflict)

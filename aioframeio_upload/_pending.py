"""What an earlier run has left in the journal: told, gone on with, thrown away; and the making of every handle."""

from __future__ import annotations

from typing import Any

from ._conflict import deliver
from ._core.journal import PendingUpload
from ._core.model import UploadedFile
from ._delivery import Delivery
from ._feed import Feed
from ._io.files import printable
from ._io.gate import Gate
from ._io.kinds import Source, check_name
from ._life import Life
from ._record import JournalRecord
from ._resume import claim_pending, discard, list_pending
from ._upload import Upload


class Pending(Life):
    """The verbs of an Uploader with a journal."""

    def _upload(
        self,
        *,
        name: str,
        source: Source,
        folder_id: str | None,
        file_id: str | None = None,
        record: JournalRecord | None = None,
        **what: Any,
    ) -> Upload:
        """Make the handle of a delivery that begins when the handle is used."""

        async def run(feed: Feed, gate: Gate) -> UploadedFile:
            resources, api = self._opened()
            if what.get("plan") is None:  # the name of a plan is the service's own
                check_name(name, source)
            told = api.telling(feed.publish)
            return await deliver(
                Delivery(
                    source=source,
                    folder_id=folder_id,
                    name=name,
                    record=record,
                    feed=feed,
                    gate=gate,
                    resources=resources,
                    api=told,
                    **what,
                )
            )

        def release(upload: Upload) -> None:
            self._running.release(upload)
            if record is not None:  # also where it was cancelled before its first step
                record.release_later()

        return Upload(
            printable(name),
            run,
            self._running.home,
            self._running.adopt,
            release,
            source=source,
            folder_id=folder_id,
            file_id=file_id,
        )

    async def resume_pending(self) -> tuple[Upload, ...]:
        """Start everything that the journal holds and nobody else is at: a worker's first line.

        Each goes on as `upload()` of the same source would; one whose parts had all arrived is only confirmed. Its
        `source`, `folder_id` and `file_id` are those that were recorded. One whose record is damaged is passed over,
        with a logged warning; `pending()` tells it.

        Raises:
            JournalError: The journal cannot be read.
            ValueError: There is no journal.
        """
        with self._call(begins=True):
            claimed = await claim_pending(self._journalled())
        return tuple(
            self._upload(
                source=entry.identity.path,
                size=None,
                name=entry.identity.name,
                folder_id=entry.identity.folder_id,
                file_id=entry.plan.file_id,
                account_id=entry.identity.account_id,
                media_type=entry.media_type,
                conflict=entry.conflict,
                origin=entry.identity.origin,
                record=record,
            ).start()
            for record, entry in claimed
        )

    async def pending(self) -> tuple[PendingUpload, ...]:
        """Return what the journal holds: uploads that were begun, by whomever, and are not finished.

        One whose record is damaged has a reason in its `damage`, which is logged as a warning, too. It stops no other,
        and `discard` removes it.

        Raises:
            JournalError: The journal cannot be read.
            ValueError: There is no journal.
        """
        with self._call():
            return await list_pending(self._journalled())

    async def discard(self, file_id: str) -> None:
        """Drop an upload from the journal and delete its placeholder; a file whose parts have all arrived is kept.

        Args:
            file_id: As `pending()` tells it.

        Raises:
            JournalError: The journal holds no such upload, or it is running.
            ApiError: The service refused; the entry stays.
            ValueError: There is no journal.
        """
        with self._call() as (_, api):
            await discard(self._journalled(), api, file_id, self._account_id)

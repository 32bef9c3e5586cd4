"""One file sent by many machines that see the same storage: a Dask cluster carries its parts (extra `dask`)."""

from __future__ import annotations

import os
from functools import partial

from distributed import Client

from ._core.listing import Conflict, check_conflict
from ._dask.sender import DaskPartSender
from ._engine.request import UploadRequest
from ._io.source_kinds import name_of
from ._upload import Upload
from ._uploader import Uploader, submit

__all__ = ["upload_file"]


def upload_file(
    client: Client,
    source: str | os.PathLike[str],
    *,
    uploader: Uploader,
    folder_id: str,
    name: str | None = None,
    account_id: str | None = None,
    media_type: str | None = None,
    conflict: Conflict = "create",
) -> Upload:
    """Upload a file by the workers of a Dask cluster; used as the `Upload` of `Uploader.upload` is, and as lazy.

    The file is planned once, here; its parts go as tasks, by their links alone: the token stays in this process. A lot
    of parts whose worker is lost is sent by another one. The end is that of any upload: the receipts of all workers
    prove that every part is there once, the service confirms, and what fails leaves behind what `upload()` would.

    A worker that does not see the file, or sees another version of it, ends the upload with a `SourceError`. A pause
    calls the workers off, and what was not acknowledged is sent again on resuming.

    Args:
        client: Asynchronous, and of this event loop: `Client(address, asynchronous=True)`.
        source: A path that all workers and this process see as the same file.
        uploader: Entered. Each worker keeps to its limits, timeouts and retries by itself; its `session` and `ssl`
            cannot travel.
        folder_id: Where to.
        name: Its name at Frame.io; by default the path's last component.
        account_id: Whose; by default the Uploader's.
        media_type: What the part links are signed for, where the service leaves that open.
        conflict: As for `Uploader.upload`.

    Raises:
        TypeError: The source is no path: nothing else can be seen from another machine.
        ValueError: The client is not asynchronous; or there is no account.
    """
    if not isinstance(source, str | os.PathLike):
        raise TypeError(f"workers elsewhere cannot read a {type(source).__name__}: give a path")
    if not client.asynchronous:
        raise ValueError("the client is not asynchronous: Client(address, asynchronous=True)")
    check_conflict(conflict)
    request = UploadRequest(
        source=source,
        name=name_of(source, name),
        folder_id=folder_id,
        account_id=account_id or "",
        media_type=media_type,
        conflict=conflict,
    )
    return submit(uploader, request, sender=partial(DaskPartSender, client))

"""Upload one file from many machines that share its storage: a Dask cluster sends the parts (extra `dask`)."""

from __future__ import annotations

import os
from functools import partial

try:
    from distributed import Client
except ImportError as _error:
    raise ModuleNotFoundError(
        "a fleet needs distributed: pip install 'aioframeio-upload[dask]'", name="distributed"
    ) from _error

from ._core.listing import Compare, Conflict, check_compare, check_conflict
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
    compare: Compare = "auto",
) -> Upload:
    """Return the upload of a file by the workers of a Dask cluster. Used like that of `Uploader.upload`, and as lazy.

    The file is planned once, in this process. The workers get the parts as tasks, with their links only: the token
    stays here. If a worker is lost, another one sends its batch of parts. The upload ends like any other: the receipts
    of all workers prove that each part was sent once, the service confirms the file, and a failure leaves behind what
    it leaves after `Uploader.upload`.

    If a worker cannot read the file, or sees another version of it, the upload ends with a `SourceError`. A pause stops
    the workers; parts that were not acknowledged are sent again after `resume()`.

    Args:
        client: An asynchronous client of this event loop: `Client(address, asynchronous=True)`.
        source: A path that is the same file for this process and all workers.
        uploader: An entered Uploader. Its limits, timeouts and retries hold for each worker separately; its `session`
            and `ssl` cannot be sent to workers.
        folder_id: ID of the target folder.
        name: The file's name at Frame.io; by default the path's last component.
        account_id: ID of the account; by default the Uploader's.
        media_type: The media type that the part links are signed for, if the service does not return one.
        conflict: As for `Uploader.upload`.
        compare: As for `Uploader.upload`. This process reads the file for it.

    Raises:
        TypeError: The source is not a path. Other sources cannot be read on another machine.
        ValueError: The client is not asynchronous, the account is missing, or `compare` has no effect with that
            `conflict`.
    """
    if not isinstance(source, str | os.PathLike):
        raise TypeError(f"workers elsewhere cannot read a {type(source).__name__}: give a path")
    if not client.asynchronous:
        raise ValueError("the client is not asynchronous: Client(address, asynchronous=True)")
    check_conflict(conflict)
    check_compare(compare, conflict)
    request = UploadRequest(
        source=source,
        name=name_of(source, name),
        folder_id=folder_id,
        account_id=account_id or "",
        media_type=media_type,
        conflict=conflict,
        compare=compare,
    )
    return submit(uploader, request, sender=partial(DaskPartSender, client))

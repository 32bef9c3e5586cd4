"""Warn before the first byte if an account has less room than an upload needs.

A logged warning, and no event or error: the number is the service's view of a moment, and what it does above the limit
is not documented. A program that wants to decide by itself asks `Uploader.accounts()`.
"""

from __future__ import annotations

import logging

import anyio

from .._core.errors import ApiError
from .._core.folder_state import FolderState
from .._io.frameio_api import FrameioApi
from .remote_tree import list_accounts

log = logging.getLogger("aioframeio_upload")

BIG_UPLOAD = 10**9
"""Bytes from which a single file is checked. The check costs a call, of which the service allows 100 a minute; beside
sending a gigabyte, that is nothing."""

TIMEOUT = 5.0
"""Seconds for the call: an upload must not wait long for advice."""


async def warn_if_too_small(api: FrameioApi, account_id: str, size: int, what: str) -> None:
    """Log a warning if the account is known to have no room for so many bytes. An API that refuses stops nothing.

    Args:
        api: The API as the token's user.
        account_id: The account.
        size: The bytes to send. Files that are there already may be among them.
        what: What is sent, for the message.
    """
    try:
        with anyio.move_on_after(TIMEOUT):
            left = {account.id: account.storage_left for account in await list_accounts(api)}.get(account_id)
            if left is not None and size > left:
                log.warning(
                    "%s: %d bytes, and account %s has room for %d (files that are there already need none)",
                    *(what, size, account_id, left),
                    extra={"is_about_quota": True},
                )
    except ApiError as error:
        log.debug("the room in account %s is not known: %s", account_id, error)


class RoomCheck:
    """Check an account once, before the first file of a folder is sent; shared by the folder's files.

    Not when the folder begins: a second run, whose files are there already, needs neither the call nor the warning.
    """

    def __init__(self, api: FrameioApi, account_id: str, what: str, state: FolderState) -> None:
        self._api = api
        self._account_id = account_id
        self._what = what
        self._state = state
        self._lock = anyio.Lock()
        self._is_done = False

    async def once(self) -> None:
        """Warn if there is no room for what is to be sent. Files that come meanwhile wait; later ones do not."""
        if self._is_done:
            return
        async with self._lock:
            if not self._is_done:
                await warn_if_too_small(self._api, self._account_id, self._state.bytes_to_send, self._what)
                self._is_done = True

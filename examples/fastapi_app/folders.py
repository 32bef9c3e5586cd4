"""Find the folders of a dropped folder at Frame.io, and create those that are missing, with the official SDK."""

from __future__ import annotations

import asyncio

import httpx
from frameio import AsyncFrameio
from frameio.core.api_error import ApiError
from frameio.folders import FolderCreateParamsData

from aioframeio_upload import UploadError


class Folders:
    """The folders below one folder at Frame.io, by their paths."""

    def __init__(self, client: AsyncFrameio, account_id: str, folder_id: str) -> None:
        self._client = client
        self._account_id = account_id
        self._top = folder_id
        self._ids: dict[str, str] = {}
        # One search at a time: two files of a new folder must not create it twice.
        self._lock = asyncio.Lock()

    async def find(self, path: str) -> str:
        """Return the ID of a folder, with `/` between names; create it, and those above it, if they are missing.

        Raises:
            ValueError: A name of the path cannot be a folder's.
            UploadError: Frame.io refuses, or does not answer.
        """
        names = path.split("/") if path else []
        if any(name in ("", ".", "..") for name in names):
            raise ValueError("the name of a folder is empty or consists of dots")
        async with self._lock:
            folder_id, at = self._top, ""
            for name in names:
                at = f"{at}/{name}"
                if at not in self._ids:
                    try:
                        self._ids[at] = await self._find_in(folder_id, name)
                    except ApiError as error:  # its text would contain all headers
                        status = error.status_code
                        raise UploadError(f"the folder {name!r} cannot be created: status {status}") from None
                    except httpx.HTTPError:
                        raise UploadError(f"the folder {name!r} cannot be created: Frame.io does not answer") from None
                folder_id = self._ids[at]
        return folder_id

    async def _find_in(self, folder_id: str, name: str) -> str:
        async for folder in await self._client.folders.list(self._account_id, folder_id):
            if folder.name == name:
                return str(folder.id)
        wanted = FolderCreateParamsData(name=name)
        return str((await self._client.folders.create(self._account_id, folder_id, data=wanted)).data.id)

    def forget(self) -> None:
        """Look for all folders again: somebody has deleted one at Frame.io."""
        self._ids.clear()

"""Upload files to Frame.io from asyncio: constant memory, every part checked, progress as events.

>>> import asyncio
>>> from aioframeio_upload import Uploader
>>> async def main(token, account, folder):
...     async with Uploader(token, account_id=account) as uploader:
...         return await uploader.upload("take-07.mov", folder_id=folder)
"""

from importlib import import_module
from typing import TYPE_CHECKING

from ._version import __version__

if TYPE_CHECKING:
    from ._core.dry_run import DryRunFile, DryRunFolder
    from ._core.errors import (
        ApiError,
        AuthenticationError,
        ConfirmationError,
        IntegrityError,
        JournalError,
        LinksExpired,
        NotFound,
        PartError,
        PartExhausted,
        PartRejected,
        PermissionDenied,
        PlanError,
        RateLimited,
        SourceChanged,
        SourceError,
        UploadCancelled,
        UploadError,
    )
    from ._core.events import (
        ApiRetrying,
        Event,
        FileCompleted,
        FileFailed,
        FileLeftOut,
        FileSkipped,
        FileStarted,
        FolderCompleted,
        FolderCreated,
        FolderPlanned,
        FolderResult,
        FolderUploadError,
        PartCompleted,
        PartRaced,
        PartRetrying,
        PartStarted,
        Progress,
        UploadCompleted,
        UploadFailed,
        UploadPlanned,
        UploadReplanned,
        UploadResumed,
    )
    from ._core.journal import PendingUpload
    from ._core.model import Part, Plan, Receipt, Statistics, UploadedFile, UploadStatus
    from ._core.patterns import UnmatchedPattern
    from ._core.remote_records import RemoteAccount, RemoteFolder, RemoteProject, RemoteUser, RemoteWorkspace
    from ._core.settings import Limits, RetryPolicy, Timeouts
    from ._core.verifying import Verification
    from ._io.journal import Journal
    from ._sdk_compat import AsyncFrameioUploader
    from ._upload import FolderUpload, FolderWatch, Upload
    from ._uploader import Uploader

__all__ = [
    "ApiError",
    "ApiRetrying",
    "AsyncFrameioUploader",
    "AuthenticationError",
    "ConfirmationError",
    "DryRunFile",
    "DryRunFolder",
    "Event",
    "FileCompleted",
    "FileFailed",
    "FileLeftOut",
    "FileSkipped",
    "FileStarted",
    "FolderCompleted",
    "FolderCreated",
    "FolderPlanned",
    "FolderResult",
    "FolderUpload",
    "FolderUploadError",
    "FolderWatch",
    "IntegrityError",
    "Journal",
    "JournalError",
    "Limits",
    "LinksExpired",
    "NotFound",
    "Part",
    "PartCompleted",
    "PartError",
    "PartExhausted",
    "PartRaced",
    "PartRejected",
    "PartRetrying",
    "PartStarted",
    "PendingUpload",
    "PermissionDenied",
    "Plan",
    "PlanError",
    "Progress",
    "RateLimited",
    "Receipt",
    "RemoteAccount",
    "RemoteFolder",
    "RemoteProject",
    "RemoteUser",
    "RemoteWorkspace",
    "RetryPolicy",
    "SourceChanged",
    "SourceError",
    "Statistics",
    "Timeouts",
    "UnmatchedPattern",
    "Upload",
    "UploadCancelled",
    "UploadCompleted",
    "UploadError",
    "UploadFailed",
    "UploadPlanned",
    "UploadReplanned",
    "UploadResumed",
    "UploadStatus",
    "UploadedFile",
    "Uploader",
    "Verification",
    "__version__",
]

_HOMES = (
    *("_core.errors", "_core.settings", "_core.model", "_core.events", "_core.journal"),
    *(
        "_core.remote_records",
        "_core.verifying",
        "_core.dry_run",
        "_core.patterns",
        "_io.journal",
        "_upload",
        "_uploader",
        "_sdk_compat",
    ),
)
"""The modules that define the names. A name is imported on its first use: creating the dataclasses takes most of the
import time, and neither `--help` nor a pytest run that only has the package's plugin installed needs them."""


if not TYPE_CHECKING:  # else type checkers would accept a misspelled name

    def __getattr__(name: str) -> object:
        if name in __all__:
            for home in _HOMES:
                module = import_module(f".{home}", __name__)
                if hasattr(module, name):
                    globals()[name] = found = getattr(module, name)
                    return found
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""Puts files into Frame.io from asyncio: constant memory, every part checked, progress as events.

>>> import asyncio
>>> from aioframeio_upload import Uploader
>>> async def main(token, account, folder):
...     async with Uploader(token, account_id=account) as uploader:
...         return await uploader.upload("take-07.mov", folder_id=folder)
"""

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
    Event,
    PartCompleted,
    PartRetrying,
    PartStarted,
    Progress,
    UploadCompleted,
    UploadFailed,
    UploadPlanned,
    UploadReplanned,
    UploadResumed,
)
from ._core.folders import (
    FileCompleted,
    FileFailed,
    FileSkipped,
    FileStarted,
    FolderCompleted,
    FolderCreated,
    FolderPlanned,
    FolderResult,
    FolderUploadError,
)
from ._core.journal import PendingUpload
from ._core.model import Part, Plan, Receipt, Statistics, UploadedFile, UploadStatus
from ._core.settings import Limits, RetryPolicy, Timeouts
from ._drop_in import AsyncFrameioUploader
from ._io.journal import Journal
from ._upload import FolderUpload, Upload
from ._uploader import Uploader
from ._version import __version__

__all__ = [
    "ApiError",
    "AsyncFrameioUploader",
    "AuthenticationError",
    "ConfirmationError",
    "Event",
    "FileCompleted",
    "FileFailed",
    "FileSkipped",
    "FileStarted",
    "FolderCompleted",
    "FolderCreated",
    "FolderPlanned",
    "FolderResult",
    "FolderUpload",
    "FolderUploadError",
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
    "RetryPolicy",
    "SourceChanged",
    "SourceError",
    "Statistics",
    "Timeouts",
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
    "__version__",
]

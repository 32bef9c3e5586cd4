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
from ._core.model import Part, Plan, Receipt, Statistics, UploadedFile, UploadStatus
from ._core.settings import Limits, RetryPolicy, Timeouts
from ._drop_in import AsyncFrameioUploader
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
    "UploadStatus",
    "UploadedFile",
    "Uploader",
    "__version__",
]

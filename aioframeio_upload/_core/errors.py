"""The errors: one tree, each class with the fields that a program acts on.

    UploadError
    ├─ SourceError(path)              what is sent: missing, empty, unreadable, longer or shorter than said
    │  └─ SourceChanged               it changed while it was being sent
    ├─ PlanError                      parts that do not tile the file
    ├─ LinksExpired                   the part links died before every part was sent
    ├─ ApiError(status, detail, …)    Frame.io's API said no, or nothing that could be understood
    │  ├─ AuthenticationError  401
    │  ├─ PermissionDenied     403
    │  ├─ NotFound             404
    │  └─ RateLimited          429
    ├─ PartError(number, attempts, …) one part; as it stands it tells a single failed attempt
    │  ├─ PartRejected                S3 said no for good
    │  ├─ PartExhausted               the attempts are used up; `__cause__` is the last fault
    │  └─ IntegrityError              the ETag kept differing from the MD5 of what was sent
    ├─ ConfirmationError(file_id, …)  every part arrived, and the service did not say that the file is complete
    ├─ JournalError(path)             the journal cannot be used, or another upload holds the same entry
    ├─ UploadCancelled                `Upload.cancel()`
    └─ FolderUploadError(result)      some files of a folder failed, and all others are there

No message holds a token or the query of a part's URL; every error pickles. `FolderUploadError` is beside the records
that it holds, in `folders`.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self


class UploadError(Exception):
    """Whatever goes wrong with an upload: the root of every error that this library raises."""

    fields: ClassVar[tuple[str, ...]] = ()
    """The names of the attributes that `to_dict()` tells."""

    def to_dict(self) -> dict[str, Any]:
        """Tell the error in JSON's types: `type`, `message` and its fields."""
        told = {name: getattr(self, name) for name in self.fields}
        return {"type": type(self).__name__, "message": str(self), **told}

    def __reduce__(self) -> tuple[Any, ...]:
        cause = self.__cause__
        # Another package's exception is left out: many pickle to what cannot be loaded again, and this must not fail.
        ours = isinstance(cause, UploadError) or type(cause).__module__ == "builtins"
        return _rebuild, (type(self), self.args, dict(self.__dict__), cause if ours else None)


def _rebuild(
    kind: type[UploadError], args: tuple[Any, ...], fields: dict[str, Any], cause: BaseException | None
) -> UploadError:
    # Not kind(*args): the constructors take fields by keyword, `args` holds the finished message.
    error = kind.__new__(kind, *args)
    error.__dict__.update(fields)
    error.__cause__ = cause
    return error


class SourceError(UploadError):
    """What should be sent cannot be: it is missing, empty, unreadable, or not as long as was said."""

    fields: ClassVar[tuple[str, ...]] = ("path",)

    def __init__(self, message: str, *, path: str | None = None, away: bool = False) -> None:
        super().__init__(message if path is None else f"{path}: {message}")
        self.path = path
        """The file, or None where the source is not one."""
        self.is_away = away
        """Whether it could not be reached: missing, unreadable, an I/O error, no answer in time. It may be as it was
        once it is back, so a journal keeps what was sent. False where the error tells what the source is: empty, a
        directory, longer or shorter than declared, changed."""


class SourceChanged(SourceError):
    """The file changed while it was being sent, so the parts would not be one file."""


class PlanError(UploadError):
    """The parts of a plan do not tile the file, or the answer that should hold them makes no plan."""


class LinksExpired(UploadError):
    """S3 refuses the part links because they are too old."""

    fields: ClassVar[tuple[str, ...]] = ("file_id",)

    def __init__(self, message: str, *, file_id: str | None = None) -> None:
        super().__init__(message)
        self.file_id = file_id


class ApiError(UploadError):
    """Frame.io's API refused a call, or gave an answer that could not be understood."""

    fields: ClassVar[tuple[str, ...]] = ("status", "detail", "request_id", "file_id")

    def __init__(
        self,
        detail: str,
        *,
        operation: str,
        status: int | None = None,
        request_id: str | None = None,
        file_id: str | None = None,
    ) -> None:
        missing = "not asked" if isinstance(self, AuthenticationError) else "no answer"
        said = missing if status is None else str(status)
        super().__init__(f"{operation}: {said}: {detail}" + (f" (request {request_id})" if request_id else ""))
        self.operation = operation
        """The call, in the API reference's words: `create_local_upload`, `show_file_upload_status`, …"""
        self.status = status
        """The HTTP status; None where no answer came."""
        self.detail = detail
        """The service's own words, or what was wrong with its answer."""
        self.request_id = request_id
        self.file_id = file_id
        """The file at Frame.io that the call was about, where there is one."""


class AuthenticationError(ApiError):
    """401: the token is missing, wrong or expired, and a fresh one did not help."""


class PermissionDenied(ApiError):
    """403: this user may not, or the account is locked; `detail` says which."""


class NotFound(ApiError):
    """404: it does not exist, or this user cannot see it."""


class RateLimited(ApiError):
    """429: still too many calls, after waiting as often as the policy allows."""


class PartError(UploadError):
    """One part could not be sent; by itself it tells one failed attempt, in `PartRetrying`."""

    fields: ClassVar[tuple[str, ...]] = ("number", "attempts", "status", "code", "request_id")

    def __init__(
        self,
        reason: str,
        *,
        number: int,
        attempts: int,
        status: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
    ) -> None:
        answer = " ".join(str(word) for word in (status, code) if word is not None)
        tail = f" (request {request_id})" if request_id else ""
        super().__init__(f"part {number}, attempt {attempts}: {answer}{': ' if answer else ''}{reason}{tail}")
        self.number = number
        """The part, from 1."""
        self.attempts = attempts
        """How often it was tried."""
        self.status = status
        """S3's HTTP status; None where no answer came."""
        self.code = code
        """S3's own code, such as `SlowDown`."""
        self.request_id = request_id
        """What S3's operators ask for."""

    @classmethod
    def of(cls, error: PartError, reason: str) -> Self:
        """Say of the same part and answer what became of it."""
        return cls(
            reason,
            number=error.number,
            attempts=error.attempts,
            status=error.status,
            code=error.code,
            request_id=error.request_id,
        )


class PartRejected(PartError):
    """S3 refused the part for a reason that no repetition cures."""


class PartExhausted(PartError):
    """Every attempt that the policy allows was made; `__cause__` is the last fault."""


class IntegrityError(PartError):
    """What S3 says it stored is not what was sent, time after time."""


class ConfirmationError(UploadError):
    """Every part was acknowledged, but the service did not confirm the file; it is kept there."""

    fields: ClassVar[tuple[str, ...]] = ("file_id", "reason")

    def __init__(self, reason: str, *, file_id: str, failed: bool = False) -> None:
        super().__init__(f"file {file_id}: {reason}")
        self.file_id = file_id
        self.reason = reason
        self.failed = failed
        """Whether the service says that it failed, which is final; False: it did not say in time that it is there."""


class JournalError(UploadError):
    """The journal is none, cannot be read or written, or the upload is another one's at this moment."""

    fields: ClassVar[tuple[str, ...]] = ("path",)

    def __init__(self, reason: str, *, path: str, file_id: str | None = None) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        """The journal's file."""
        self.reason = reason
        """What is said of it."""
        self.file_id = file_id
        """The one recorded upload that it is about, as `pending()` names it; None where it is about the journal."""


class UploadCancelled(UploadError):
    """The upload was cancelled; or a call, such as `plan`, was stopped because the Uploader was shut down."""

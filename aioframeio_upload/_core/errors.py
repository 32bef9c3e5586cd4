"""Define the exceptions; each has the fields that a program needs to react.

    UploadError
    ├─ SourceError(path)              the source is missing, empty, unreadable, longer or shorter than declared
    │  └─ SourceChanged               it changed while it was being sent
    ├─ PlanError                      the parts do not tile the file
    ├─ LinksExpired                   the part links expired before every part was sent
    ├─ ApiError(status, detail, …)    Frame.io's API refused a call, or its answer could not be understood
    │  ├─ AuthenticationError  401
    │  ├─ PermissionDenied     403
    │  ├─ NotFound             404
    │  └─ RateLimited          429
    ├─ PartError(number, attempts, …) a part could not be sent; this class itself is one failed attempt
    │  ├─ PartRejected                S3 refused it for good
    │  ├─ PartExhausted               all attempts failed; `__cause__` is the last failure
    │  └─ IntegrityError              S3 kept storing other bytes than were sent, by its checksum
    ├─ ConfirmationError(file_id, …)  every part arrived, but the service did not confirm the file
    ├─ JournalError(path)             the journal cannot be used, or another upload owns the same entry
    ├─ UploadCancelled                `Upload.cancel()`
    └─ FolderUploadError(result)      some files of a folder failed; all others have arrived

No message contains a token or the query of a part's URL, and every error can be pickled. `FolderUploadError` is
defined in `events`, with the records that it holds.
"""

from __future__ import annotations

from copy import copy
from typing import Any, ClassVar, Self, TypeVar

from .public import public
from .words import (
    CHECK_MACHINE,
    RESUME,
    UPLOAD_AGAIN,
    WAIT_FOR_IT,
    advise_on_call,
    advise_on_rejection,
    name_call,
)


@public
class UploadError(Exception):
    """Base class of every error that this library raises about an upload.

    The error that an upload ends with, and that of each file of a folder, has a note (`__notes__`, PEP 678) that names
    the source: `while uploading 'takes/take-07.mov'`. Python and `logging` print it with the traceback; `str()`,
    `to_dict()` and events do not repeat it. (A `SourceError` names its source in any case.)
    """

    fields: ClassVar[tuple[str, ...]] = ()
    """Names of the attributes that `to_dict()` includes."""

    advice: str = ""
    """What to do about it, for a person to read; `str()` ends with it. Empty where the message itself says it, or there
    is nothing to do."""

    def __init__(self, message: str = "", *, advice: str | None = None) -> None:
        super().__init__(message)
        if advice is not None:
            self.advice = advice

    @property
    def problem(self) -> str:
        """The message without the advice."""
        return super().__str__()

    def __str__(self) -> str:
        return f"{self.problem}; {self.advice}" if self.advice else self.problem

    def to_dict(self) -> dict[str, Any]:
        """Return the error as JSON types: `type`, `message` (the text of `str()`), and every field of its class."""
        values = {name: getattr(self, name) for name in self.fields}
        return {"type": type(self).__name__, "message": str(self), **values}

    def __reduce__(self) -> tuple[Any, ...]:
        state = dict(self.__dict__)
        cause = self.__cause__
        # Exceptions of other packages are left out: many can be pickled but not unpickled, and this must not fail.
        if isinstance(cause, UploadError) or type(cause).__module__ == "builtins":
            state["__cause__"] = cause
        # Not `type(self)(*self.args)`: the constructors take fields by keyword, but `args` holds the finished message.
        # And not `Exception.__new__`, which refuses a program's own subclass that is an `OSError` too; that one sets
        # `args` in its constructor only.
        state["args"] = self.args
        return type(self).__new__, (type(self), *self.args), state


E = TypeVar("E", bound=UploadError)

NOTE = "while uploading "


def noted(error: E, what: str) -> E:
    """Return the error with a note that names what was uploaded; a copy, if several files share the error.

    The message of a SourceError without a path begins with the name, as that of a path does.
    """
    note = f"{NOTE}{what!r}"
    notes: list[str] = getattr(error, "__notes__", [])
    if note in notes:
        return error
    if any(one.startswith(NOTE) for one in notes):
        error = copy(error)
        error.__notes__ = [one for one in notes if not one.startswith(NOTE)]
    error.add_note(note)
    if isinstance(error, SourceError) and error.path is None:
        error.args = (f"{what}: {error.reason}",)  # a stream does not know what it is uploaded as
    return error


@public
class SourceError(UploadError):
    """The source cannot be sent: it is missing, empty, unreadable, or not as long as declared."""

    fields: ClassVar[tuple[str, ...]] = ("path", "reason", "is_away")

    def __init__(self, reason: str, *, path: str | None = None, away: bool = False, advice: str | None = None) -> None:
        super().__init__(reason if path is None else f"{path or repr(path)}: {reason}", advice=advice)
        self.path = path
        """The file's path, or None if the source is not a file."""
        self.reason = reason
        """The message without the path or name, and without the advice."""
        self.is_away = away
        """Whether it could not be reached: missing, unreadable, an I/O error, no response in time. It may come back
        unchanged, so the journal keeps its entry. False if the error is about what the source is: empty, a directory,
        longer or shorter than declared, changed.

        What the caller's own stream or file object raised counts as unreadable too, such as `ConnectionResetError` or
        Starlette's `ClientDisconnect`: a browser that left. False if it is an error of a program or its data, by its
        class: `ValueError`, `TypeError`, `LookupError`, `RuntimeError` and the like."""


@public
class SourceChanged(SourceError):
    """The file changed while it was being sent, so its parts would be a mixture of two versions."""

    advice = "upload it again when nothing writes to it"


@public
class PlanError(UploadError):
    """The parts of a plan do not tile the file, or the service's answer is not a valid plan."""


@public
class LinksExpired(UploadError):
    """S3 refuses the part links because they have expired."""

    fields: ClassVar[tuple[str, ...]] = ("file_id",)
    advice = UPLOAD_AGAIN

    def __init__(self, message: str, *, file_id: str | None = None, advice: str | None = None) -> None:
        super().__init__(message, advice=advice)
        self.file_id = file_id


@public
class ApiError(UploadError):
    """Frame.io's API refused a call, did not answer, or sent an answer that could not be understood."""

    fields: ClassVar[tuple[str, ...]] = ("operation", "status", "detail", "request_id", "file_id")

    def __init__(  # a record of what is known of the call
        self,
        detail: str,
        *,
        operation: str,
        status: int | None = None,
        request_id: str | None = None,
        file_id: str | None = None,
        advice: str | None = None,
    ) -> None:
        # Without a status the token callable failed, so that no request was made.
        missing = "no request was made" if isinstance(self, AuthenticationError) else "no answer"
        outcome = f"{missing if status is None else status}: "
        if isinstance(self, NotFound) and status == 200:
            outcome = ""  # the call succeeded, and what was looked for is not in its answer
        request = f" (request {request_id})" if request_id else ""
        if advice is None:
            advice = advise_on_call(operation, status)
        super().__init__(f"{name_call(operation)}: {outcome}{detail}{request}", advice=advice)
        self.operation = operation
        """The call, as named in the API reference: `create_local_upload`, `show_file_upload_status`, …"""
        self.status = status
        """The HTTP status; None if no answer came."""
        self.detail = detail
        """The service's message, or what was wrong with its answer."""
        self.request_id = request_id
        self.file_id = file_id
        """The ID of the file that the call was about, if any."""


@public
class AuthenticationError(ApiError):
    """401: the token is missing, invalid or expired, and a fresh one did not help."""


@public
class PermissionDenied(ApiError):
    """403: the user lacks the permission, or the account is locked; `detail` says which."""


@public
class NotFound(ApiError):
    """404: the resource does not exist, or is not visible to this user."""


@public
class RateLimited(ApiError):
    """429: still too many calls after every retry that the policy allows."""


@public
class PartError(UploadError):
    """A part could not be sent. An instance of this class itself is one failed attempt, as in `PartRetrying`."""

    fields: ClassVar[tuple[str, ...]] = ("number", "attempts", "status", "code", "request_id")

    def __init__(  # noqa: PLR0913  # a record of what is known of the attempt
        self,
        reason: str,
        *,
        number: int,
        attempts: int,
        status: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
        advice: str | None = None,
    ) -> None:
        answer = " ".join(str(word) for word in (status, code) if word is not None)
        tail = f" (request {request_id})" if request_id else ""
        if advice is None and isinstance(self, PartRejected):
            advice = advise_on_rejection(code)
        message = f"part {number}, attempt {attempts}: {answer}{': ' if answer else ''}{reason}{tail}"
        super().__init__(message, advice=advice)
        self.number = number
        """The part, from 1."""
        self.attempts = attempts
        """Number of attempts so far."""
        self.status = status
        """S3's HTTP status; None if no answer came."""
        self.code = code
        """S3's error code, such as `SlowDown`."""
        self.request_id = request_id
        """S3's `x-amz-request-id`, which AWS support asks for."""

    @classmethod
    def of(cls, error: PartError, reason: str, *, advice: str | None = None) -> Self:
        """Return an error of this class about the same part and response, with another reason."""
        return cls(
            reason,
            number=error.number,
            attempts=error.attempts,
            status=error.status,
            code=error.code,
            request_id=error.request_id,
            advice=advice,
        )


@public
class PartRejected(PartError):
    """S3 refused the part for a reason that a retry cannot change."""


@public
class PartExhausted(PartError):
    """Every attempt that the policy allows has failed; `__cause__` is the last failure."""

    advice = RESUME


@public
class IntegrityError(PartError):
    """S3 repeatedly reported other bytes than were sent."""

    advice = CHECK_MACHINE


@public
class ConfirmationError(UploadError):
    """Every part was acknowledged, but the service did not confirm the file, which is kept there."""

    fields: ClassVar[tuple[str, ...]] = ("file_id", "reason", "failed")

    def __init__(self, reason: str, *, file_id: str, failed: bool = False) -> None:
        super().__init__(f"file {file_id}: {reason}", advice=UPLOAD_AGAIN if failed else WAIT_FOR_IT)
        self.file_id = file_id
        self.reason = reason
        self.failed = failed
        """Whether the service reports that it failed, which is final; False: it did not confirm the file in time."""


@public
class JournalError(UploadError):
    """The journal is not valid, cannot be read or written, or another upload owns the entry at the moment."""

    fields: ClassVar[tuple[str, ...]] = ("path", "reason", "file_id")

    def __init__(self, reason: str, *, path: str, file_id: str | None = None, advice: str | None = None) -> None:
        super().__init__(f"{path}: {reason}", advice=advice)
        self.path = path
        """The journal's file."""
        self.reason = reason
        """The message without the path and the advice."""
        self.file_id = file_id
        """The recorded upload that the error is about, as in `pending()`; None if it is about the whole journal."""


@public
class UploadCancelled(UploadError):
    """The upload was cancelled; or a call, such as `plan`, was stopped because the Uploader was shut down."""

"""Each error has its message and its fields, and can be pickled."""

from __future__ import annotations

import copy
import io
import json
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import aioframeio_upload
from aioframeio_upload import (
    ApiError,
    AuthenticationError,
    ConfirmationError,
    FileFailed,
    FileSkipped,
    FolderResult,
    FolderUploadError,
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
from aioframeio_upload._core import errors as errors_module
from aioframeio_upload._core import events as folders_module
from aioframeio_upload._core.api_schema import MalformedAnswer
from aioframeio_upload._core.errors import noted
from tests.support.strategies import errors, part_errors

API: dict[str, Any] = {"operation": "show_file", "status": 401, "request_id": "r1", "file_id": "f1"}
API_403: dict[str, Any] = {**API, "status": 403}
API_404: dict[str, Any] = {**API, "status": 404}
API_429: dict[str, Any] = {**API, "status": 429}
REFUSED = "looking up the file: 401: no (request r1); get a new token, as docs/getting-a-token.md says"
API_TOLD = {"operation": "show_file", "detail": "no", "status": 401, "request_id": "r1", "file_id": "f1"}
API_TOLD_418 = {"operation": "tickle", "detail": "no", "status": 418, "request_id": None, "file_id": None}
SOURCE_TOLD = {"path": "a.mov", "reason": "is empty", "is_away": False}
PART: dict[str, Any] = {"number": 3, "attempts": 8, "status": 503, "code": "SlowDown", "request_id": "r1"}

FAILED_FOLDER = FolderResult((), (FileSkipped("b", "there"),), (FileFailed("a", UploadError("no")),), ())
FAILED_FOLDER_TOLD = {
    "files": [],
    "skipped": [{"event": "FileSkipped", "path": "b", "reason": "there", "file": None}],
    "failures": [{"event": "FileFailed", "path": "a", "error": {"type": "UploadError", "message": "no"}}],
    "folders": [],
}

SAID: list[tuple[UploadError, str, dict[str, Any]]] = [
    (UploadError("the upload has not ended"), "the upload has not ended", {}),
    (UploadError("it failed", advice="try again"), "it failed; try again", {}),
    (SourceError("is empty", path="a.mov"), "a.mov: is empty", SOURCE_TOLD),
    (SourceError("is empty", path="a.mov", advice="leave it out"), "a.mov: is empty; leave it out", SOURCE_TOLD),
    (
        SourceError("needs size=", away=True),
        "needs size=",
        {"path": None, "reason": "needs size=", "is_away": True},
    ),
    (
        SourceChanged("was written to", path="a.mov"),
        "a.mov: was written to; upload it again when nothing writes to it",
        SOURCE_TOLD | {"reason": "was written to"},
    ),
    (PlanError("2 parts hold 3 bytes"), "2 parts hold 3 bytes", {}),
    (MalformedAnswer("no upload_urls"), "no upload_urls", {}),
    (LinksExpired("part 1: too old", file_id="f1"), "part 1: too old; upload it again", {"file_id": "f1"}),
    (ApiError("no", **API), REFUSED, API_TOLD),
    (ApiError("no", operation="tickle", status=418), "calling Frame.io: 418: no", API_TOLD_418),
    (
        ApiError("the connection broke", operation="show_file"),
        "looking up the file: no answer: the connection broke;"
        " check base_url, the network of this machine and its proxy, then try again",
        {
            "operation": "show_file",
            "detail": "the connection broke",
            "status": None,
            "request_id": None,
            "file_id": None,
        },
    ),
    (AuthenticationError("no", **API), REFUSED, API_TOLD),
    (
        PermissionDenied("no", **API_403),
        "looking up the file: 403: no (request r1);"
        " ask for a role that allows it, or use the token of a user who has one",
        API_TOLD | {"status": 403},
    ),
    (
        NotFound("no", **API_404),
        "looking up the file: 404: no (request r1); check the ID, and that of the account",
        API_TOLD | {"status": 404},
    ),
    (
        RateLimited("no", **API_429),
        "looking up the file: 429: no (request r1); wait a minute; other programs of the same user count, too",
        API_TOLD | {"status": 429},
    ),
    (PartError("slow", **PART), "part 3, attempt 8: 503 SlowDown: slow (request r1)", PART),
    (
        PartError("the connection broke", number=3, attempts=1),
        "part 3, attempt 1: the connection broke",
        {"number": 3, "attempts": 1, "status": None, "code": None, "request_id": None},
    ),
    (
        PartRejected("slow", **PART),
        "part 3, attempt 8: 503 SlowDown: slow (request r1);"
        " upload it again; if it stays, report it to Frame.io with the request's ID",
        PART,
    ),
    (
        PartExhausted("slow", **PART),
        "part 3, attempt 8: 503 SlowDown: slow (request r1);"
        " upload it again; with a journal, only the missing parts are sent",
        PART,
    ),
    (
        IntegrityError("slow", **PART),
        "part 3, attempt 8: 503 SlowDown: slow (request r1);"
        " check the memory and the network of this machine, then upload it again",
        PART,
    ),
    (
        ConfirmationError("too late", file_id="f1"),
        "file f1: too late; it is kept: ask for its status later; uploading it again with its journal only confirms it",
        {"file_id": "f1", "reason": "too late", "failed": False},
    ),
    (
        ConfirmationError("it failed", file_id="f1", failed=True),
        "file f1: it failed; upload it again",
        {"file_id": "f1", "reason": "it failed", "failed": True},
    ),
    (
        JournalError("is no database", path="a.db"),
        "a.db: is no database",
        {"path": "a.db", "reason": "is no database", "file_id": None},
    ),
    (UploadCancelled("the upload was cancelled"), "the upload was cancelled", {}),
    (FolderUploadError(FAILED_FOLDER), "1 of 2 files failed; the first: 'a': no", {"result": FAILED_FOLDER_TOLD}),
]
NAMES = [f"{type(error).__name__}-{index}" for index, (error, *_) in enumerate(SAID)]


def every_error() -> set[type[UploadError]]:
    modules = {**vars(errors_module), **vars(folders_module)}
    return {found for found in modules.values() if isinstance(found, type) and issubclass(found, UploadError)}


@pytest.mark.parametrize(("error", "message", "told"), SAID, ids=NAMES)
def test_an_error_has_this_message_and_these_fields(error: UploadError, message: str, told: dict[str, Any]) -> None:
    assert str(error) == message
    assert error.to_dict() == {"type": type(error).__name__, "message": message, **told}
    for name, value in told.items():
        assert (FAILED_FOLDER_TOLD if name == "result" else getattr(error, name)) == value


@pytest.mark.parametrize("error", [error for error, *_ in SAID], ids=NAMES)
def test_no_public_field_of_an_error_is_missing_in_its_dict(error: UploadError) -> None:
    """`problem` and `advice` are the two halves of `message`."""
    public = {name for name in dir(error) if not name.startswith("_") and not callable(getattr(error, name))}
    of_exceptions = {"args", "fields", "problem", "advice"}
    assert error.to_dict().keys() - {"type", "message"} == public - of_exceptions


def test_the_advice_is_the_end_of_the_text_and_can_be_told_from_it() -> None:
    error = SourceError("is empty", path="a.mov", advice="leave it out")
    assert (error.problem, error.advice, error.reason) == ("a.mov: is empty", "leave it out", "is empty")
    assert str(error) == f"{error.problem}; {error.advice}"


def test_an_empty_path_is_shown() -> None:
    assert str(SourceError("No such file or directory", path="")) == "'': No such file or directory"


def test_a_folders_error_names_the_path_of_its_first_failure_once() -> None:
    failed = FileFailed("sub/a.mov", SourceError("is empty", path="/shoot/sub/a.mov", advice="leave it out"))
    error = FolderUploadError(FolderResult((), (), (failed,), ()))
    assert str(error) == "1 of 1 file failed; the first: 'sub/a.mov': is empty; leave it out"


def test_the_table_above_has_every_error() -> None:
    assert {type(error) for error, *_ in SAID} - {MalformedAnswer} == every_error()


def test_every_error_is_public() -> None:
    for kind in every_error():
        assert getattr(aioframeio_upload, kind.__name__) is kind


def test_the_tree_in_the_modules_docstring_is_the_tree() -> None:
    """The depth of each line is given by the column of its branch, three columns per level."""
    assert errors_module.__doc__ is not None
    drawn: dict[str, str] = {}
    above: dict[int, str] = {}
    for line in errors_module.__doc__.splitlines():
        branch, _, words = line.partition("─ ")
        name = (words or line).split("(")[0].split()[:1]
        if line.strip() == "UploadError":
            above[0] = "UploadError"
        elif words:
            depth = (len(branch) - 4) // 3 + 1
            above[depth] = name[0]
            drawn[name[0]] = above[depth - 1]
    tree = {kind.__name__: kind.__bases__[0].__name__ for kind in every_error() - {UploadError}}
    assert drawn == tree


def assert_same(copied: UploadError, error: UploadError) -> None:
    assert type(copied) is type(error)
    assert str(copied) == str(error)
    assert copied.args == error.args
    assert vars(copied) == vars(error)
    assert copied.to_dict() == error.to_dict()


@given(errors())
def test_every_error_survives_pickle_and_copy(error: UploadError) -> None:
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        assert_same(pickle.loads(pickle.dumps(error, protocol)), error)
    assert_same(copy.copy(error), error)
    assert_same(copy.deepcopy(error), error)


@given(errors(), errors())
def test_an_errors_cause_travels_with_it(error: UploadError, cause: UploadError) -> None:
    error.__cause__ = cause
    copied = pickle.loads(pickle.dumps(error))
    assert_same(copied, error)
    assert_same(copied.__cause__, cause)


def test_a_cause_of_pythons_own_travels_too() -> None:
    error = SourceError("No such file", path="a.mov")
    error.__cause__ = FileNotFoundError(2, "No such file", "a.mov")
    copied = pickle.loads(pickle.dumps(error))
    assert isinstance(copied.__cause__, FileNotFoundError)
    assert copied.__cause__.filename == "a.mov"


class Away(SourceError, OSError):
    """A program's own error, which code that expects an `OSError` handles as well."""


class Marked(UploadError):
    """A program's own error with a `__new__`."""

    def __new__(cls, *args: object) -> Marked:
        made = super().__new__(cls, *args)
        made.is_marked = True
        return made

    is_marked: bool


@pytest.mark.parametrize("error", [Away("cannot be read", path="a.mov", away=True), Marked("no")], ids=repr)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_programs_own_subclass_survives_pickle_and_copy(error: UploadError, protocol: int) -> None:
    error.__cause__ = ValueError("no")
    for copied in (pickle.loads(pickle.dumps(error, protocol)), copy.copy(error), copy.deepcopy(error)):
        assert (type(copied), str(copied), copied.args) == (type(error), str(error), error.args)
        assert vars(copied) == vars(error)
        assert repr(copied.__cause__) == repr(error.__cause__)


class CallersError(Exception):
    """An error such as many packages have: it can be pickled but not unpickled."""

    def __init__(self, *, code: int) -> None:
        super().__init__(f"code {code}")


def test_a_callers_own_exception_as_the_cause_does_not_keep_an_error_from_travelling() -> None:
    error = AuthenticationError("the token callable raised CallersError", operation="show")
    error.__cause__ = CallersError(code=7)
    file = io.BytesIO()
    pickler = pickle.Pickler(file)
    # Where `distributed` was imported, its tblib has told pickle how every exception class travels, ours too.
    pickler.dispatch_table = {}
    pickler.dump(error)
    copied = pickle.loads(file.getvalue())
    assert_same(copied, error)
    assert copied.__cause__ is None
    assert isinstance(error.__cause__, CallersError)


def test_notes_travel_with_an_error() -> None:
    error = PlanError("2 parts hold 3 bytes")
    error.add_note("take.mov")
    assert pickle.loads(pickle.dumps(error)).__notes__ == ["take.mov"]


@given(errors())
def test_an_error_is_noted_once_and_copied_where_files_share_it(error: UploadError) -> None:
    first = noted(noted(error, "a.mov"), "a.mov")
    other = noted(first, "b.mov")
    assert first is error
    is_named = isinstance(error, SourceError) and error.path is None
    assert type(other) is type(error)
    assert other.problem == (f"b.mov: {error.to_dict()['reason']}" if is_named else error.problem)
    assert (error.__notes__, other.__notes__) == (["while uploading 'a.mov'"], ["while uploading 'b.mov'"])


def test_a_source_without_a_path_is_named_once_by_its_message() -> None:
    error = noted(noted(SourceError("the stream ended 1 byte early"), "a.mov"), "a.mov")
    assert (str(error), error.reason) == ("a.mov: the stream ended 1 byte early", "the stream ended 1 byte early")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@given(errors())
def test_every_error_can_be_written_as_json(error: UploadError) -> None:
    told = error.to_dict()
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert {"type", "message", *error.fields} == told.keys()


@given(part_errors(PartError), st.sampled_from([PartRejected, PartExhausted, IntegrityError]))
def test_what_became_of_a_part_is_said_of_the_same_attempt(error: PartError, kind: type[PartError]) -> None:
    became = kind.of(error, "given up")
    assert type(became) is kind
    assert {name: getattr(became, name) for name in error.fields} == {
        name: getattr(error, name) for name in error.fields
    }
    assert "given up" in str(became)

"""What a person reads about each failure: in a program's log, and at a terminal."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import typer.main

from aioframeio_upload import ApiError, Limits, RetryPolicy, SourceError, Timeouts, Uploader, UploadError
from aioframeio_upload._cli.app import app, run
from aioframeio_upload._cli.format import format_error
from aioframeio_upload._core.words import CALLS, format_count
from aioframeio_upload._io import frameio_api
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import PART
from tests.support.commands import OTHERS

ONCE = RetryPolicy(attempts=1, patience=0)

CHECK_ADDRESS = "check FRAMEIO_BASE_URL, and whether a proxy or a login page answers instead of Frame.io"
CHECK_NETWORK = "check the network of this machine and its proxy, then try again"
RESUME = "run the same command again: only the missing parts are sent, unless --no-journal is given"
REPORT_IT = "run the same command again; if it stays, report it to Frame.io with the request's ID"


async def send(uploader: Uploader, fake: FakeFrameio) -> Any:
    return await uploader.upload("take.mov", folder_id=fake.folder_id)


def send_to(folder_id: str) -> Callable[[Uploader, FakeFrameio], Awaitable[Any]]:
    return lambda uploader, _: uploader.upload("take.mov", folder_id=folder_id)


def send_path(path: str) -> Callable[[Uploader, FakeFrameio], Awaitable[Any]]:
    return lambda uploader, fake: uploader.upload(path, folder_id=fake.folder_id)


async def send_to_project(uploader: Uploader, fake: FakeFrameio) -> Any:
    return await uploader.upload("take.mov", folder_id=fake.project_id)


async def send_twice(uploader: Uploader, fake: FakeFrameio) -> Any:
    """Claim the journal's entry with an upload that S3 holds, and begin it a second time."""
    fake.add_fault(Fault(do="hold"))
    async with uploader.upload("take.mov", folder_id=fake.folder_id) as first:
        await first.planned()
        try:
            return await uploader.upload("take.mov", folder_id=fake.folder_id)
        finally:
            fake.release()


def give(value: object) -> Callable[[], Any]:
    def token() -> Any:
        return value

    return token


def fail() -> str:
    raise KeyError("secret-of-the-callable")


@dataclass(frozen=True)
class Scene:
    """A failure: how it comes about, and what a terminal shows of it, with `…` for IDs."""

    name: str
    says: str
    act: Callable[[Uploader, FakeFrameio], Awaitable[Any]] = send
    faults: tuple[Fault, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)


def api(status: int, message: str = "no", *, on: str = "create", **how: Any) -> tuple[Fault, ...]:
    return (Fault(on=on, status=status, message=message, times=None, **how),)


def s3(status: int, code: str | None = None, **how: Any) -> tuple[Fault, ...]:
    return (Fault(status=status, code=code, message="no", times=None, **how),)


SCENES = [
    Scene(
        "wrong token",
        "AuthenticationError: creating the file: 401: You are not authorized …; log in again: aioframeio-upload login",
        settings={"token": "wrong-or-expired"},
    ),
    Scene(
        "a token callable that fails",
        "AuthenticationError: creating the file: no request was made: the token callable raised KeyError;"
        " log in again: aioframeio-upload login",
        settings={"token": fail},
    ),
    Scene(
        "a token that is none",
        "AuthenticationError: creating the file: no request was made: the token must be a str, not an object"
        " of type NoneType; log in again: aioframeio-upload login",
        settings={"token": give(None)},
    ),
    Scene(
        "unknown folder",
        "NotFound: creating the file: 404: Not Found; there is no folder nowhere in account …, or this token cannot"
        " read it …; look up its ID: aioframeio-upload find; the account's: aioframeio-upload whoami",
        send_to("nowhere"),
    ),
    Scene(
        "a project's id",
        "NotFound: creating the file: 404: Not Found; … is a project, not a folder; its root folder is … …;"
        " use the root folder's ID",
        send_to_project,
    ),
    Scene(
        "unknown account",
        "NotFound: creating the file: 404: Not Found; there is no folder … in account nobody, or this token cannot"
        " read it …; look up its ID: aioframeio-upload find; the account's: aioframeio-upload whoami",
        settings={"account_id": "nobody"},
    ),
    Scene(
        "no permission",
        "PermissionDenied: creating the file: 403: no …;"
        " ask for a role that allows it, or use the token of a user who has one",
        faults=api(403),
    ),
    Scene(
        "quota",
        "ApiError: creating the file: 402: no …; check the account's storage and its plan",
        faults=api(402),
    ),
    Scene(
        "a name that is refused",
        "ApiError: creating the file: 422: name is too long …; correct that, then try again",
        faults=api(422, "name is too long"),
    ),
    Scene(
        "too many calls",
        "RateLimited: creating the file: 429: no …; wait a minute; other programs of the same user count, too",
        faults=api(429),
    ),
    Scene("service down", "ApiError: creating the file: 500: no …; try again later", faults=api(500)),
    Scene(
        "login page",
        f"ApiError: creating the file: 200: the answer is not JSON (…, 18 bytes); {CHECK_ADDRESS}",
        faults=api(200, body="<html>login</html>"),
    ),
    Scene(
        "an answer without a plan",
        f"ApiError: creating the file: 201: the answer has no object under 'data'; {CHECK_ADDRESS}",
        faults=api(201, body="{}"),
    ),
    Scene(
        "redirect",
        f"ApiError: creating the file: 302: a redirect, which is not followed …; {CHECK_ADDRESS}",
        faults=api(302),
    ),
    Scene(
        "broken connection",
        f"ApiError: creating the file: no answer: the connection broke …; {CHECK_NETWORK}",
        faults=(Fault(on="create", do="reset", times=None),),
    ),
    Scene(
        "refused connection",
        f"ApiError: creating the file: no answer: no connection …; {CHECK_NETWORK}",
        settings={"base_url": "http://127.0.0.1:9"},
    ),
    Scene(
        "unreachable proxy",
        f"ApiError: creating the file: no answer: the proxy could not be reached …; {CHECK_NETWORK}",
        settings={"proxy": "http://127.0.0.1:9"},
    ),
    Scene(
        "signature",
        "PartRejected: part 1, attempt 1: 403 SignatureDoesNotMatch: no (the link, the media type or a header differs"
        " from what was signed) …; look for what changes requests on the way: a proxy, a gateway or a virus scanner",
        faults=s3(403, "SignatureDoesNotMatch"),
    ),
    Scene(
        "S3 denies",
        f"PartRejected: part 1, attempt 1: 403 AccessDenied: no (the link does not allow this request) …; {REPORT_IT}",
        faults=s3(403, "AccessDenied"),
    ),
    Scene(
        "S3 has no such upload",
        f"PartRejected: part 1, attempt 1: 404 NoSuchUpload: no (another client ended the upload) …; {REPORT_IT}",
        faults=s3(404, "NoSuchUpload"),
    ),
    Scene(
        "S3 is overloaded",
        "PartExhausted: part 1, attempt 1: 503 SlowDown: every attempt failed; the last: no (too many requests; fewer"
        f" parts are in flight for a while) …; {RESUME}",
        faults=s3(503, "SlowDown"),
    ),
    Scene(
        "S3 fails",
        "PartExhausted: part 1, attempt 1: 500 InternalError: every attempt failed; the last: no (S3 failed) …;"
        f" {RESUME}",
        faults=s3(500, "InternalError"),
    ),
    Scene(
        "S3 stores other bytes",
        "IntegrityError: part 1, attempt 1: 200: S3 acknowledged other bytes than were sent: their CRC64NVME differs"
        " …; check the memory and the network of this machine, then run the same command again",
        faults=(Fault(do="corrupt", times=None),),
    ),
    Scene(
        "links that have expired at once",
        "LinksExpired: part 1: S3 says that its link has expired; the links were just issued: the clocks of S3 and"
        " of the service differ; try again later",
        faults=(Fault(do="expire", times=None),),
    ),
    Scene(
        "no confirmation",
        "ConfirmationError: file …: the service did not say within 0.01 s that it is complete; it is kept: run the same"
        " command again later, which only confirms it",
        faults=(Fault(on="status", do="hold", times=None),),
        settings={"timeouts": Timeouts(confirm=0.01)},
    ),
    Scene(
        "missing file",
        "SourceError: nowhere.mov: No such file or directory; check the path",
        send_path("nowhere.mov"),
    ),
    Scene("a folder for a file", "SourceError: shoot: is a folder; name a file", send_path("shoot")),
    Scene(
        "a device for a file",
        f"SourceError: {os.devnull}: is not a regular file; "
        "pipe what comes out of it into: aioframeio-upload upload - --name NAME",
        send_path(os.devnull),
    ),
    Scene(
        "empty file",
        "SourceError: empty.mov: is empty, and Frame.io does not accept empty files; leave it out",
        send_path("empty.mov"),
    ),
    Scene(
        "missing folder",
        "SourceError: nowhere: No such file or directory; check the path",
        lambda uploader, fake: uploader.upload_folder("nowhere", folder_id=fake.folder_id),
    ),
    Scene(
        "a stream that ends early",
        "SourceError: a: the stream ended 1 byte early; declare the size that it has",
        lambda uploader, fake: uploader.upload(_stream(), folder_id=fake.folder_id, name="a", size=3),
    ),
    Scene(
        "another upload of the same file",
        "JournalError: uploads.sqlite3: 'take.mov' is being uploaded by this Uploader already; name each file once",
        send_twice,
        settings={"journal": "uploads.sqlite3"},
    ),
    Scene(
        "no journal",
        "JournalError: take.mov: is not a database; name another file with --journal",
        settings={"journal": "take.mov"},
    ),
    Scene(
        "status of nothing",
        "NotFound: reading the file's status: 404: Not Found …; check the ID, and that of the account",
        lambda uploader, _: uploader.status("nowhere"),
    ),
    Scene(
        "comparison with nothing",
        "NotFound: looking up the file: 404: Not Found …; check the ID, and that of the account",
        lambda uploader, _: uploader.verify("nowhere", "take.mov"),
    ),
    Scene(
        "a path to nothing",
        "NotFound: listing the projects: there is no project 'Spring'; there is 'Fake project'; check the path",
        lambda uploader, _: uploader.find_folder("Spring/Dailies"),
    ),
]


async def _stream() -> AsyncIterator[bytes]:
    yield b"ab"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a file, an empty one and a folder, in which the test runs; no variable names a login."""
    monkeypatch.chdir(tmp_path)
    for name in ("FRAMEIO_TOKEN", "FRAMEIO_CLIENT_SECRET", "FRAMEIO_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "take.mov").write_bytes(b"frames" * 1000)
    (tmp_path / "empty.mov").touch()
    (tmp_path / "shoot").mkdir()
    return tmp_path


def matches(text: str, says: str) -> bool:
    return re.fullmatch(re.escape(says).replace("…", r"\S(?:.*\S)?"), text) is not None


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
async def test_a_failure_says_what_happened_and_what_to_do(scene: Scene) -> None:
    async with FakeFrameio(rate_limits=False, part_size=PART, faults=list(scene.faults)) as fake:
        usual: dict[str, Any] = {"token": fake.token, "account_id": fake.account_id, "base_url": fake.url}
        settings = usual | {"retry": ONCE, "limits": Limits(api_pacing=False)} | scene.settings
        with pytest.raises(UploadError) as caught:
            async with Uploader(settings.pop("token"), **settings) as uploader:
                await scene.act(uploader, fake)
        fake.release()
    shown = format_error(caught.value)
    assert matches(shown, scene.says), shown
    for text in (str(caught.value), shown):
        assert not [name for name in CALLS if "_" in name and name in text]
        assert str(caught.value.problem) == str(caught.value).removesuffix(f"; {caught.value.advice}")


def test_each_operation_has_words() -> None:
    operations = {one.name for one in vars(frameio_api).values() if isinstance(one, frameio_api.Operation)}
    assert operations == CALLS.keys()


@pytest.mark.parametrize(("count", "words"), [(0, "0 folders"), (1, "1 folder"), (2, "2 folders")])
def test_plurals_are_right(count: int, words: str) -> None:
    assert format_count(count, "folder") == words


@pytest.mark.usefixtures("place")
def test_the_path_that_a_line_begins_with_is_not_repeated() -> None:
    error = SourceError("is empty", path=str(Path("empty.mov").absolute()), advice="leave it out")
    assert format_error(error, "empty.mov") == "SourceError: is empty; leave it out"
    assert format_error(error, "shoot") == f"SourceError: {error.path}: is empty; leave it out"


COMMANDS = [
    (
        ["upload", "take.mov", "--folder", "f"],
        {"FRAMEIO_TOKEN": None},
        "error: no token: set FRAMEIO_TOKEN, or FRAMEIO_CLIENT_ID and FRAMEIO_CLIENT_SECRET for jobs that outlive a"
        " token, or log in: aioframeio-upload login",
    ),
    (
        ["upload", "take.mov", "--folder", "", "--account", "a"],
        {},
        "error: --folder takes a folder's id, its link (https://next.frame.io/project/<project>/<folder>), or a"
        " project's link (https://next.frame.io/project/<project>) for its root folder, or a path that begins with a"
        ' project ("Project/Folder")',
    ),
    (["upload", "take.mov", "--folder", "f", "--parts", "0"], {}, 'error: --parts must be at least 1, or "auto"'),
    (
        ["upload", "take.mov", "--folder", "f", "--parts", "9" * 5000],  # more digits than Python reads as a number
        {},
        "error: --parts must be a whole number or \"auto\", not '999999999999...9999999999999'",
    ),
    (
        ["upload", "take.mov", "--folder", "f", "--report", "no/x.csv"],
        {},
        "error: --report: there is no folder no; make it first",
    ),
    (["upload", "take.mov"], {}, "error: Missing option '--folder'."),
    (["watch", "nowhere", "--folder", "f"], {}, "error: nowhere: there is no such folder; check the path"),
    (["watch", "take.mov", "--folder", "f"], {}, "error: take.mov: is not a folder; send files with `upload`"),
    (
        ["status", ""],
        {},
        "error: FILE_ID takes a file's ID, or its link (https://next.frame.io/project/<project>/view/<file>)",
    ),
    (
        ["discard", "https://next.frame.io/project/p/f"],
        {},
        "error: FILE_ID takes a file's ID, or its link (https://next.frame.io/project/<project>/view/<file>)",
    ),
    (["verify", "--report", "no.csv"], {}, "error: Invalid value: no.csv: No such file or directory; check the path"),
    (
        ["verify", "--report", "bad.json"],
        {},
        "error: Invalid value: bad.json is not a report that `upload --report` wrote",
    ),
]


@pytest.mark.parametrize(("arguments", "variables", "line"), COMMANDS, ids=lambda value: " ".join(value)[:40])
def test_wrong_usage_says_what_is_right(
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    variables: dict[str, str | None],
    line: str,
) -> None:
    for name in [name for name in os.environ if name.upper().startswith(OTHERS)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(place))
    monkeypatch.setenv("LOCALAPPDATA", str(place))
    monkeypatch.setenv("WIN_PD_OVERRIDE_LOCAL_APPDATA", str(place))
    (place / "bad.json").write_text("[1, 2", encoding="utf-8")
    for name, value in ({"FRAMEIO_TOKEN": "token"} | variables).items():
        if value is not None:
            monkeypatch.setenv(name, value)
    assert run(arguments) == 2
    assert capsys.readouterr().err.splitlines()[-1] == line


@pytest.mark.usefixtures("place")
def test_an_address_that_was_set_is_among_what_to_check_when_nothing_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    error = ApiError("no connection", operation="create_local_upload", status=None)
    assert str(error).endswith("; check base_url, the network of this machine and its proxy, then try again")
    assert format_error(error).endswith(f"; {CHECK_NETWORK}")
    monkeypatch.setenv("FRAMEIO_BASE_URL", "http://127.0.0.1:9")
    assert format_error(error).endswith(
        "; check FRAMEIO_BASE_URL, the network of this machine and its proxy, then try again"
    )


EVERY_COMMAND = sorted(typer.main.get_command(app).commands)  # type: ignore[attr-defined]  # of click's `Group`


@pytest.mark.parametrize("command", ["", *EVERY_COMMAND])
def test_help_fits_sixty_columns_and_cuts_nothing_off(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERMINAL_WIDTH", "60")
    assert run([*command.split(), "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if len(line) > 60] == []
    assert [line for line in lines if line.endswith("...") and not line.startswith("Usage: ")] == []

"""Parse the arguments, the options and the environment.

`--help` loads this module, so it imports nothing that takes long: no aiohttp, no ssl.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote, urlsplit

from .._core.redact import Secret
from .output import write_error
from .usage_error import UsageError as UsageError  # for its other importers: it is raised for every option

if TYPE_CHECKING:
    import ssl

    from .. import Limits, Timeouts
    from .service import ProxyOfHost, Service


# -- the service: login, account, address, proxy, certificates ---------------------------------------------------------

MISSING_LOGIN = (
    "no token: set FRAMEIO_TOKEN, or FRAMEIO_CLIENT_ID and FRAMEIO_CLIENT_SECRET for jobs that outlive a token, or"
    " log in: aioframeio-upload login"
)
BAD_BASE_URL = "FRAMEIO_BASE_URL must be http(s)://host, without user and password, query and fragment"
NO_SDK = "{} needs Frame.io's SDK: pip install 'aioframeio-upload[sdk]'"
BAD_IMS_URL = "FRAMEIO_IMS_URL must be https://host: refresh tokens are sent there"
LOGIN_VARIABLES = ("FRAMEIO_TOKEN", "FRAMEIO_CLIENT_ID", "FRAMEIO_CLIENT_SECRET", "FRAMEIO_IMS_URL")
CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Read by other programs too. OpenSSL itself reads SSL_CERT_FILE and SSL_CERT_DIR."""


def read_service(
    account: str | None, proxy: str | None, ca: Path | None, *, needs_account: bool = True, needs_token: bool = True
) -> Service:
    """Return the address, the login and the account; an option takes precedence over its environment variable.

    Args:
        account: The option.
        proxy: The option.
        ca: The option.
        needs_account: Whether the command calls `with_account`, which chooses an account if none is named here.
        needs_token: Whether there must be a token.

    Raises:
        UsageError: Something is missing or not valid.
    """
    from .._io.frameio_api import is_base_url
    from .service import Service

    login = Secret({name: os.environ[name] for name in LOGIN_VARIABLES if os.environ.get(name)})
    state = state_folder()
    if not needs_token:
        login.reveal().setdefault("FRAMEIO_TOKEN", "not-asked-for")
    if "FRAMEIO_TOKEN" not in login.reveal():
        if {"FRAMEIO_CLIENT_ID", "FRAMEIO_CLIENT_SECRET"} <= login.reveal().keys():
            check_sdk("FRAMEIO_CLIENT_ID")
        elif state is not None and os.path.lexists(state / "login.json"):
            check_sdk("the login")
        else:
            raise UsageError(MISSING_LOGIN)
    base_url = os.environ.get("FRAMEIO_BASE_URL") or "https://api.frame.io"
    if not is_base_url(Secret(base_url)):
        raise UsageError(BAD_BASE_URL)
    return Service(
        login=login,
        account_id=account or os.environ.get("FRAMEIO_ACCOUNT_ID") or None,
        base_url=base_url,
        proxy=read_proxy(proxy, base_url),
        ssl=_read_ca(ca),
        state=state,
        needs_account=needs_account,
        has_chosen=needs_account and bool(account),
    )


def read_login_service(proxy: str | None, ca: Path | None) -> Service:
    """Return the service for `login` and `logout`, which need no token.

    Raises:
        UsageError: Something is missing or not valid.
    """
    from dataclasses import replace

    from .._io.frameio_api import is_base_url, is_readable_on_the_way

    check_sdk("the login")
    service = read_service(None, proxy, ca, needs_account=False, needs_token=False)
    url = Secret(service.ims_url)
    if not is_base_url(url) or is_readable_on_the_way(url):
        raise UsageError(BAD_IMS_URL)
    # `read_service` has put a stand-in where there is no token.
    given = {name: value for name, value in service.login.reveal().items() if value != "not-asked-for"}
    return replace(service, login=Secret(given))


def read_client_id(option: str | None) -> str:
    """Return the client that logs in.

    Raises:
        UsageError: It is missing, or cannot be one.
    """
    client_id = option or os.environ.get("FRAMEIO_CLIENT_ID") or ""
    if not re.fullmatch(r"[\w.@:-]{1,200}", client_id, re.ASCII):
        raise UsageError(
            "--client-id takes the client ID of an OAuth credential, from https://developer.adobe.com/console"
        )
    return client_id


def read_redirect(uri: str) -> str:
    """Return the redirect URI.

    Raises:
        UsageError: It cannot be one.
    """
    from .oauth import check_redirect

    if (objection := check_redirect(uri)) is not None:
        raise UsageError(f"--redirect-uri: {objection}")
    return uri


def check_sdk(what: str) -> None:
    """Raise UsageError unless Frame.io's SDK is installed."""
    try:
        import frameio.auth  # noqa: F401  # only whether it is installed
    except ModuleNotFoundError:
        raise UsageError(NO_SDK.format(what)) from None


def read_proxy(option: str | None, base_url: str) -> ProxyOfHost:
    """Return what chooses the proxy of each host.

    Raises:
        UsageError: The API's proxy is not an HTTP proxy. Its URL may contain a password and is not shown.
    """
    from .._io.proxies import Proxies
    from .service import ProxyOfHost

    choose = ProxyOfHost(option)
    del option  # a traceback would show it
    refusal = ""
    try:
        Proxies(Secret(choose(base_url)))
    except ValueError as error:
        refusal = str(error).removeprefix("proxy ")
    if refusal:
        raise UsageError(f"the proxy (--proxy, HTTPS_PROXY or ALL_PROXY) {refusal}")
    return choose


def _read_ca(option: Path | None) -> ssl.SSLContext | None:
    import ssl

    path = str(option) if option else next((os.environ[name] for name in CA_VARIABLES if os.environ.get(name)), None)
    if path is None:
        return None
    try:
        # In addition to the system's certificates: parts may bypass the proxy that inspects the other traffic.
        context = ssl.create_default_context()
        if os.path.isdir(path):
            context.load_verify_locations(capath=path)
        else:
            context.load_verify_locations(path)
    except OSError as error:
        raise UsageError(f"{path}: no certificates can be read there: {error.strerror or error}; check --ca") from None
    return context


# -- the target folder -------------------------------------------------------------------------------------------------

PATH_FORM = 'a path that begins with a project ("Project/Folder")'


@dataclass(frozen=True, slots=True)
class Target:
    """Where to upload: a folder; a project, whose root folder is meant; or a path."""

    folder_id: str | None = None
    project_id: str | None = None
    path: str | None = None
    """Names of a project and of folders in it."""
    makes: bool = False
    """Create the folders of the path that are missing."""


def read_folder(text: str, *, makes: bool = False) -> Target:
    """Read an id, a link as a browser shows it, or a path.

    Raises:
        UsageError: It is none of them.
    """
    from .._core.folder_target import FOLDER_FORMS, HOST, NO_NAME, read_target

    word = text.strip()
    if "://" not in word and not word.startswith(f"{HOST}/") and not NO_NAME.fullmatch(word):
        names = [name for name in word.split("/") if name]
        if not names or {".", ".."} & set(names):
            raise UsageError(f"--folder takes {FOLDER_FORMS}, or {PATH_FORM}")
        return Target(path=word, makes=makes)
    if makes:
        raise UsageError(f"--make-folders needs {PATH_FORM} as --folder; an ID or a link is of a folder that exists")
    try:
        found = read_target(word, "--folder")
    except ValueError as error:
        raise UsageError(f"{error}, or {PATH_FORM}") from None
    return Target(folder_id=found.folder_id, project_id=found.project_id)


def read_project(text: str | None) -> str | None:
    """Return what names a project, without the rest of a link.

    Raises:
        UsageError: It is the link of something else.
    """
    from .._core.folder_target import read_project_text

    try:
        return None if text is None else read_project_text(text, "PROJECT")
    except ValueError as error:
        raise UsageError(str(error)) from None


FILE_LINK = re.compile(r"(?:https://)?next\.frame\.io/project/[^/]+/view/([^/?#]+)", re.ASCII)


def read_file_id(text: str) -> str:
    """Read the ID of a file, or its link as a browser and `upload` show it.

    Raises:
        UsageError: It is neither.
    """
    word = text.strip()
    found = FILE_LINK.match(word)
    if found is not None:
        return found[1]
    if not word or "/" in word:
        raise UsageError("FILE_ID takes a file's ID, or its link (https://next.frame.io/project/<project>/view/<file>)")
    return word


# -- the sources -------------------------------------------------------------------------------------------------------


STDIN = "-"
"""The PATH that stands for stdin; a file of that name is `./-`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadArguments:
    """The sources of an upload, and its target."""

    paths: Sequence[str]
    folders: frozenset[str]
    """The paths that are folders. Looked up before a loop runs, because a network mount may block."""
    target: Target
    conflict: Literal["skip", "create", "version", "version-changed"]
    compare: Literal["auto", "content"] = "auto"
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    is_agreed: bool = False
    """Ask nothing before the upload (`--yes`)."""
    name: str | None = None
    """The file's name at Frame.io, if it is not its own."""
    contents_only: bool = False
    """Upload what is in a folder, without a folder of its name."""
    size: int | None = None
    """Of what comes from stdin, if it is known."""

    @property
    def is_stdin(self) -> bool:
        """Whether the file is read from stdin."""
        return STDIN in self.paths

    @property
    def comparison(self) -> Literal["auto", "content"]:
        """How a file is compared. By its content if it comes from stdin, since a pipe has no time of modification."""
        is_compared = self.conflict in ("skip", "version-changed")
        return "content" if self.is_stdin and is_compared else self.compare


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchArguments:
    """The arguments of `watch`: what to watch, where to upload, and how."""

    label: str
    """The path as it was given."""
    path: str
    """An absolute one, which no later change of the working directory affects."""
    target: Target
    settle: float
    conflict: Literal["skip", "create", "version", "version-changed"]
    compare: Literal["auto", "content"]
    include: Sequence[str]
    exclude: Sequence[str]


def read_watched(path: str) -> str:
    """Return the absolute path of the folder to watch.

    Raises:
        UsageError: There is no such folder.
    """
    if not os.path.isdir(path):
        reason = (
            "is not a folder; send files with `upload`"
            if os.path.lexists(path)
            else "there is no such folder; check the path"
        )
        raise UsageError(f"{path}: {reason}")
    return os.path.abspath(path)


def read_paths(paths: Iterable[str]) -> tuple[list[str], frozenset[str]]:
    """Return the paths without repetitions, and those of them that are folders."""
    kept = without_repetitions(paths)
    return kept, frozenset(path for path in kept if path != STDIN and os.path.isdir(path))


def absolute(path: str) -> str:
    """Return the absolute path of a folder, whose last name is the folder's at Frame.io: `.` has none."""
    return os.path.abspath(path)


def check_names(paths: Sequence[str], folders: frozenset[str], name: str | None, contents_only: bool) -> None:
    """Raise UsageError if `--name` or `--contents-only` does not fit the paths."""
    if name is not None and (len(paths) != 1 or folders):
        raise UsageError("--name is for one file: give one PATH that is not a folder")
    if contents_only and not folders:
        raise UsageError("--contents-only is for folders, and no PATH is one")


def check_stdin(paths: Sequence[str], name: str | None, size: int | None, *, dry_run: bool) -> None:
    """Raise UsageError if `-` or `--size` does not fit the rest."""
    if STDIN not in paths:
        if size is not None:
            raise UsageError("--size is for what comes from stdin: give - as PATH")
        return
    if len(paths) > 1:
        raise UsageError("- reads one file from stdin: give it as the only PATH (a file of that name is ./-)")
    if sys.stdin.isatty():
        raise UsageError(
            "- reads the file from stdin, which is a terminal: end the command of another program with"
            " | aioframeio-upload upload - --name NAME …, or give the PATH of a file"
        )
    if not name:
        raise UsageError("- needs --name: what comes from stdin has no name of its own")
    if dry_run and size is None and not is_stdin_on_disk():
        raise UsageError("--dry-run reads nothing from stdin, and so needs --size")


def is_stdin_on_disk() -> bool:
    """Return whether stdin is a file on disk (`< take.mov`), whose size is known."""
    return stat.S_ISREG(os.fstat(0).st_mode)


def check_dry_run(report: Path | None, timeline: Path | None) -> None:
    """Raise UsageError if a dry run is to write a file about an upload."""
    for path, option in ((report, "--report"), (timeline, "--timeline")):
        if path is not None:
            raise UsageError(f"{option} is about an upload, and --dry-run makes none")


def check_comparison(compare: str, conflict: str) -> None:
    """Raise UsageError if `--compare content` has no effect."""
    if compare == "content" and conflict not in ("skip", "version-changed"):
        raise UsageError(
            f"--compare content is for --conflict skip and version-changed: with {conflict}, nothing is compared"
        )


def without_repetitions(paths: Iterable[str]) -> list[str]:
    """Return the paths without those that name the same file under the same name again: `a` and `./a`.

    A file that is also in one of the folders is no repetition: it goes to two places, as with `cp`.
    """
    found: dict[tuple[str, str], str] = {}
    for path in paths:
        if path == STDIN:
            found.setdefault((STDIN, STDIN), path)
            continue
        try:
            full = os.path.abspath(path)
            key = os.path.normcase(os.path.realpath(full)), os.path.basename(full)
        except OSError:  # the working directory was removed; the upload reports which path it cannot find
            key = path, path
        found.setdefault(key, path)
    return list(found.values())


def read_remote_source(url: str, name: str | None) -> tuple[str, str]:
    """Return the URL to fetch and the name of the file. `-` reads the URL from stdin, which `ps` does not show.

    Raises:
        UsageError: It is not a URL, or contains no name. The URL may be a credential and is not shown.
    """
    source = sys.stdin.readline().strip() if url == "-" else url
    try:
        parts = urlsplit(source)
        file_name = name or unquote(parts.path).rpartition("/")[2]
    except ValueError:
        raise UsageError("the URL cannot be read: it must begin with https:// or http://, and a host") from None
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise UsageError("the URL must begin with https:// or http://")
    if not file_name:
        raise UsageError("the URL contains no file name: give --name")
    return source, file_name


# -- limits and timeouts -----------------------------------------------------------------------------------------------

RATE_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}
SIZE = re.compile(r"(\d{1,16}(?:\.\d{1,6})?) ?([kmg]i?)?b?", re.IGNORECASE | re.ASCII)
RATE = re.compile(r"(\d{1,12}(?:\.\d{1,6})?) ?([kmg]i?)?(?:b(?:/s)?)?", re.IGNORECASE | re.ASCII)


def read_rate(text: str) -> int:
    """Read bytes per second: `50M`, `800k`, `1.5Gi`, `50MB/s`. A `b` stands for bytes, in either case.

    Raises:
        UsageError: It is not a rate.
    """
    found = RATE.fullmatch(text.strip())
    if found is None:
        raise UsageError("--bandwidth takes bytes per second: 800k, 50M, 1.5G (or Ki, Mi, Gi)")
    return round(float(found[1]) * RATE_UNITS[(found[2] or "").lower()])


def read_size(text: str | None) -> int | None:
    """Read a number of bytes: `30000000`, `30M`, `1.5Gi`; None stays None.

    Raises:
        UsageError: It is not a whole number of bytes, or 0.
    """
    if text is None:
        return None
    found = SIZE.fullmatch(text.strip())
    size = Fraction(found[1]) * RATE_UNITS[(found[2] or "").lower()] if found else Fraction(0)
    if size < 1 or size.denominator != 1:
        raise UsageError(
            "--size takes the exact number of bytes: 30000000, 30M or 1.5Gi (M is a million, Mi is 1048576)"
        )
    return int(size)


def read_limits(parts: str | None, bandwidth: str | None) -> Limits:
    """Return the limits, with the library's defaults for what was not given.

    Raises:
        UsageError: A value is out of range.
    """
    from .. import Limits

    given: dict[str, Any] = {}
    if parts is not None:
        given["parts"] = parts if re.fullmatch(r"[0-9]{1,9}", parts) is None else int(parts)
    if bandwidth is not None:
        given["bandwidth"] = read_rate(bandwidth)
    try:
        return Limits(**given)
    except (TypeError, ValueError) as error:
        raise UsageError(str(error).replace("Limits.", "--")) from None


def read_timeouts(stall: float | None) -> Timeouts:
    """Return the timeouts, with the library's defaults for what was not given.

    Raises:
        UsageError: The value is out of range.
    """
    from .. import Timeouts

    try:
        return Timeouts() if stall is None else Timeouts(stall=stall)
    except ValueError:
        raise UsageError("--timeout takes a number of seconds greater than 0") from None


# -- the journal -------------------------------------------------------------------------------------------------------


def read_journal(path: Path | None) -> Path:
    """Return the path of the journal: the option's, or this user's.

    Raises:
        UsageError: The path cannot be one of a file, or there is no place for this user's journal.
    """
    from .. import Journal

    if path is None:
        return default_journal()
    try:
        Journal(path)
    except ValueError as error:
        raise UsageError(f"--journal: {error}") from None
    return path


def read_optional_journal(path: Path | None, no_journal: bool) -> Path | None:
    """Return the path of the journal, or None: with `--no-journal`, or if there is no place for this user's journal.

    Raises:
        UsageError: Both options were given, or the path cannot be one of a file.
    """
    if no_journal and path is not None:
        raise UsageError("--journal and --no-journal exclude each other")
    if no_journal:
        return None
    if path is not None:
        return read_journal(path)
    try:
        return default_journal()
    except UsageError as error:
        write_error(f"nothing is recorded: {error}")
        return None


def default_journal() -> Path:
    """Return the path of this user's journal, with which the same command resumes an upload.

    Raises:
        UsageError: This user has no home folder, or no permission to write there, as in a container with any user id.
    """
    folder = state_folder()
    if folder is None:
        raise UsageError("there is no home folder to keep a journal in; name one with --journal, or set HOME")
    parent = next(path for path in (folder, *folder.parents) if path.exists())
    if not os.access(parent, os.W_OK | os.X_OK):
        raise UsageError(f"no journal can be kept in {folder}: {parent} cannot be written to; name one with --journal")
    return folder / "uploads.sqlite3"


def state_folder() -> Path | None:
    """Return this user's state folder, which may not exist yet; None for a user without a home folder."""
    import platformdirs

    try:
        folder = platformdirs.user_state_path("aioframeio-upload", appauthor=False)
    except RuntimeError:  # platformdirs 4.4 and later; earlier ones return a path that begins with "~"
        return None
    return folder if folder.is_absolute() else None


def journal_exists(journal: Path) -> bool:
    """Return whether there is a journal. If that cannot be determined, True: opening it raises the reason."""
    try:
        os.lstat(journal)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return True


# -- the output --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputOptions:
    """The output of a command: the lines it prints and the files it writes about the uploads."""

    as_json: bool = False
    quiet: bool = False
    verbose: bool = False
    """Show the library's log, too. Its lines would cut through a live display."""
    report: Path | None = None
    timeline: Path | None = None


def read_output(
    as_json: bool, quiet: bool, report: Path | None, timeline: Path | None, *, verbose: bool = False
) -> OutputOptions:
    """Return the output options.

    Raises:
        UsageError: Two of them exclude each other, or a file could not be written.
    """
    if as_json and quiet:
        raise UsageError("--json and --quiet exclude each other")
    if report is not None:
        check_writable(report, "--report", ".json", ".csv")
    if timeline is not None:
        try:
            from ..plot import SUFFIXES
        except ModuleNotFoundError as error:
            raise UsageError(f"--timeline: {error}") from None
        check_writable(timeline, "--timeline", *SUFFIXES)
    return OutputOptions(as_json=as_json, quiet=quiet, verbose=verbose, report=report, timeline=timeline)


def check_writable(path: Path, option: str, *suffixes: str) -> None:
    """Raise UsageError if the file could not be written: before an upload of hours, not after it."""
    if path.suffix.lower() not in suffixes:
        raise UsageError(f"{option} takes a file that ends in {' or '.join(suffixes)}")
    if not path.parent.is_dir():
        raise UsageError(f"{option}: there is no folder {path.parent}; make it first")
    if path.is_dir():
        raise UsageError(f"{option}: {path} is a folder; name a file")
    if not os.access(path.parent, os.W_OK):
        raise UsageError(f"{option}: no permission to write into {path.parent}; name another folder")

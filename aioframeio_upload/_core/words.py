"""Word errors for people: what a call to Frame.io was doing, and what to do about a failure.

An error's `advice` is neutral: the reader may hold an `Uploader` or a terminal. The command line replaces it where an
option or a command of its own helps (`_cli/format.py`).
"""

from __future__ import annotations

import errno


def format_count(count: int, noun: str) -> str:
    """Return a number with its noun, in the plural where that is right: `1 folder`, `2 folders`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


CALLS: dict[str, str] = {
    "create_local_upload": "creating the file",
    "create_remote_upload": "asking Frame.io to fetch the file",
    "show_file_upload_status": "reading the file's status",
    "show_file": "looking up the file",
    "delete": "deleting the file",
    "move_file": "moving the file",
    "create_folder": "creating the folder",
    "create_version_stack": "stacking the versions",
    "list_files": "listing the folder",
    "list_folder_children": "listing the folder",
    "list_folders": "listing the folder",
    "accounts": "listing the accounts",
    "me": "looking up the user",
    "workspaces": "listing the workspaces",
    "projects": "listing the projects",
    "show_project": "looking up the project",
}
"""What each operation of the API reference does, because its name means nothing to most readers."""


def name_call(operation: str) -> str:
    """Return what an operation does, for a message."""
    return CALLS.get(operation, "calling Frame.io")


CHECK_LOGIN = "check what is passed as the token"
NEW_LOGIN = "get a new token, as docs/getting-a-token.md says"
ASK_FOR_ROLE = "ask for a role that allows it, or use the token of a user who has one"
FIND_FOLDER = "look up the folder's ID with find(), and the account's with accounts()"
CHECK_PATH = "check the path"
MAKE_FOLDER = "check the path, or create the folder with find_folder(..., make=True)"
NAME_A_FOLDER = "name a folder in it"
USE_ROOT_FOLDER = "use the root folder's ID"
UPLOAD_FOLDER = "upload it with upload_folder()"
SEND_STREAM = "pass what comes out of it as a stream: a file object or an asynchronous iterator of bytes"
CHECK_ID = "check the ID, and that of the account"
CORRECT = "correct that, then try again"
SLOW_DOWN = "wait a minute; other programs of the same user count, too"
TRY_LATER = "try again later"
CHECK_NETWORK = "check the network of this machine and its proxy, then try again"
CHECK_API = "check base_url, the network of this machine and its proxy, then try again"
CHECK_ADDRESS = "check base_url, and whether a proxy or a login page answers instead of Frame.io"
RAISE_POOL = "raise limit= or limit_per_host= of the session's connector, or use a smaller Limits(parts=)"
TRUST = "add the certificate of the authority that signed it"
CHECK_PROXY = "check base_url and the proxy's URL and password"
CHECK_SPACE = "check the account's storage and its plan"


def advise_on_call(operation: str, status: int | None) -> str:
    """Return what to do after a call that Frame.io refused or did not answer; empty if its own words have to do."""
    if status is None:
        return CHECK_API
    if 200 <= status < 400:
        return CHECK_ADDRESS
    if status == 404:
        return FIND_FOLDER if operation in _IN_FOLDER else CHECK_ID
    return _BY_STATUS.get(status, TRY_LATER if status >= 500 else "")


_IN_FOLDER = {"create_local_upload", "create_remote_upload", "create_folder", "create_version_stack"} | {
    operation for operation, words in CALLS.items() if words == "listing the folder"
}

_BY_STATUS = {
    **dict.fromkeys((400, 409, 422), CORRECT),
    401: NEW_LOGIN,
    402: CHECK_SPACE,
    403: ASK_FOR_ROLE,
    429: SLOW_DOWN,
}
"""402: "usage exceeded" in Frame.io's V2; V4 does not document what it answers above the limit."""


UPLOAD_AGAIN = "upload it again"
RESUME = "upload it again; with a journal, only the missing parts are sent"
WAIT_FOR_IT = "it is kept: ask for its status later; uploading it again with its journal only confirms it"
CHECK_MACHINE = "check the memory and the network of this machine, then upload it again"

LOOK_ON_THE_WAY = "look for what changes requests on the way: a proxy, a gateway or a virus scanner"

_BY_CODE = {
    "SignatureDoesNotMatch": LOOK_ON_THE_WAY,
    "RequestTimeTooSkewed": "try again later, and report it to Frame.io if it stays",
}


def advise_on_rejection(code: str | None) -> str:
    """Return what to do about a part that S3 refused for good."""
    return _BY_CODE.get(code or "", "upload it again; if it stays, report it to Frame.io with the request's ID")


_BY_ERRNO = {
    errno.ENOENT: CHECK_PATH,
    errno.ENOTDIR: CHECK_PATH,
    errno.ELOOP: CHECK_PATH,
    errno.ENAMETOOLONG: CHECK_PATH,
    errno.EACCES: "let this user read it",
    errno.EPERM: "let this user read it",
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EROFS: "choose a folder that can be written to",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "close other programs",
    errno.EIO: "check the disk and its cable",
}

NAME_ANOTHER = "name another file as the journal"
LET_IT_END = "wait until that has ended"
AWAIT_THAT = "await that one, which resume_pending() or upload() has returned; `Uploader.uploads` lists it"
SEE_PENDING = "pending() lists what it holds"
NAME_SPOOL = "pass spool_dir= to the Uploader, or set TMPDIR"
SPOOL_ELSEWHERE = f"free some space, or {NAME_SPOOL}"
LEAVE_OUT = "leave it out"
RENAME = "rename it"
DECLARE_SIZE = "declare the size that it has"

CORRECT_STREAM = "correct what makes the stream, then upload a new one"
SEND_NEW_STREAM = "upload a new stream: this one cannot be read again"
CHECK_OBJECT = "check the object, and what it reads from"
SEND_AGAIN = "upload it again; a web server that stops cancels what its handlers read"

CHECK_SHARE = "check the disk or the network share, then upload it again"


def advise_on_file(error: BaseException | None) -> str:
    """Return what to do about a file that the system refuses to read or write."""
    if not isinstance(error, OSError):
        return ""
    return _BY_ERRNO.get(error.errno or 0, CHECK_SHARE)

"""The commands and their options. The code of a command is imported when it runs, so that `--help` is quick."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from .. import __version__
from . import exit_status
from .oauth import DEFAULT_REDIRECT
from .options import (
    UploadArguments,
    WatchArguments,
    check_comparison,
    check_dry_run,
    check_names,
    check_stdin,
    read_client_id,
    read_file_id,
    read_folder,
    read_journal,
    read_limits,
    read_login_service,
    read_optional_journal,
    read_output,
    read_paths,
    read_project,
    read_redirect,
    read_remote_source,
    read_service,
    read_size,
    read_timeouts,
    read_watched,
)
from .output import write_error, write_line
from .runner import Verbosity, finish, report_usage_errors

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,  # its tracebacks show local variables, which contain the token
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


Folder = Annotated[
    str,
    typer.Option(
        metavar="FOLDER",
        help="The target: a folder's ID or link, a project's link, or a path ('Project/Folder'); `find` shows them.",
    ),
]
MakeFolders = Annotated[
    bool, typer.Option("--make-folders", help="Create the folders of a --folder path that are missing.")
]
Account = Annotated[
    str | None,
    typer.Option(metavar="ID", help="Account ID (default: FRAMEIO_ACCOUNT_ID, else the one of the last time)."),
]
Proxy = Annotated[
    str | None, typer.Option(metavar="URL", help="HTTP proxy (default: HTTPS_PROXY or ALL_PROXY, and NO_PROXY).")
]
Ca = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH", help="Additional certificates to trust, a PEM file or a folder (default: REQUESTS_CA_BUNDLE)."
    ),
]
Compare = Annotated[
    Literal["auto", "content"],
    typer.Option(
        help="How to tell whether a file is the same: by what is known here, else by name, size and time; or by its"
        " content in any case (reads the file once, and sends what cannot be compared)."
    ),
]
Include = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PATTERN", help="Upload only the files of a folder that match, for example '*.mov'; may be repeated."
    ),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PATTERN", help="Leave out the files of a folder that match, for example '*.tmp'; may be repeated."
    ),
]
Parts = Annotated[
    str | None,
    typer.Option(
        metavar="N|auto", help="Number of parts to send at the same time (default: auto, as many as the link needs)."
    ),
]
Bandwidth = Annotated[
    str | None, typer.Option(metavar="RATE", help="Maximum bytes per second: 800k, 50M, 1.5G (default: no limit).")
]
Stall = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        metavar="SECONDS",
        help="Retry a part if no byte moves for this long (default: 30). The upload as a whole has no limit.",
    ),
]
JournalPath = Annotated[
    Path | None,
    typer.Option(
        "--journal", metavar="PATH", help="File that records uploads (default: one in this user's state folder)."
    ),
]
Report = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write a report with a row for each file (.json or .csv).")
]
TimelinePath = Annotated[
    Path | None,
    typer.Option("--timeline", metavar="FILE", help="Draw the parts over time (.svg or .png; needs the extra `plot`)."),
]
FILE_HELP = "The file at Frame.io: its ID or its link."
Json = Annotated[bool, typer.Option("--json", help="Print lines of JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only the links of the files that have arrived.")]


def _set_verbose(value: bool) -> None:
    Verbosity.is_verbose = Verbosity.is_verbose or value


Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose",
        "-v",
        callback=_set_verbose,
        help="Print more: what is left out of a folder, and the library's log (to stderr).",
    ),
]


def _show_version(value: bool) -> None:
    if value:
        write_line(f"aioframeio-upload {__version__}")
        raise typer.Exit


CLICK_USAGE_ERROR: type[Exception] = typer.BadParameter.__bases__[0]
"""click's `UsageError`, raised for arguments that cannot be parsed. typer exports only this subclass of it."""


def run(arguments: list[str]) -> int:
    """Run a command and return its exit status."""
    Verbosity.is_verbose = False
    try:
        status: int | None = app(arguments, prog_name="aioframeio-upload", standalone_mode=False)
    except CLICK_USAGE_ERROR as error:
        return _show_usage_error(error)
    return status or exit_status.OK


def _show_usage_error(error: Any) -> int:
    """Print what typer would print. Its own output does not escape control characters in the arguments."""
    if error.ctx is not None:
        for line in error.ctx.get_usage().splitlines():
            write_error(line)
        write_error(f"Try '{error.ctx.command_path} {error.ctx.help_option_names[0]}' for help.")
        write_error("")
    # pydantic's words for a wrong choice (typer validates by it) begin with the name of a Python exception.
    write_error(f"error: {error.format_message().replace('Value error, ', '')}")
    return exit_status.USAGE


@app.callback(invoke_without_command=True)
def commands(
    context: typer.Context,
    _verbose: Verbose = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Upload files to Frame.io.

    Log in once (`login`), or set FRAMEIO_TOKEN. For jobs without a person, set FRAMEIO_CLIENT_ID and
    FRAMEIO_CLIENT_SECRET instead. All but FRAMEIO_TOKEN need the extra `sdk`.
    """
    if context.invoked_subcommand is None:
        for line in context.get_help().splitlines():
            write_error(line)
        raise typer.Exit(exit_status.USAGE)


@app.command(
    epilog="""\b
Examples:
  aioframeio-upload upload a.mov --folder Spring/Dailies
  aioframeio-upload upload shoot --folder ID --dry-run
  aioframeio-upload upload shoot --folder ID --json"""
)
@report_usage_errors
def upload(
    paths: Annotated[list[str], typer.Argument(metavar="PATH", help="Files and folders; - reads a file from stdin.")],
    folder: Folder,
    make_folders: MakeFolders = False,
    account: Account = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the file at Frame.io (one file only; default: its own).")
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="BYTES",
            help="Exact size of what comes from stdin (30000000, 30M, 1.5Gi); without it, stdin is first read into a"
            " temporary file.",
        ),
    ] = None,
    contents_only: Annotated[
        bool, typer.Option("--contents-only", help="Upload what is in a folder, without a folder of its name.")
    ] = False,
    conflict: Annotated[
        Literal["skip", "create", "version", "version-changed"],
        typer.Option(
            help="If a file of the same name exists: skip it if it is the same file (one with another content is added"
            " beside it), create another, add a version to it, or add a version unless it is the same file."
        ),
    ] = "skip",
    compare: Compare = "auto",
    include: Include = None,
    exclude: Exclude = None,
    parts: Parts = None,
    bandwidth: Bandwidth = None,
    timeout: Stall = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Only print what would be sent, and what would be skipped and why.")
    ] = False,
    journal: JournalPath = None,
    no_journal: Annotated[
        bool, typer.Option("--no-journal", help="Do not record uploads, so that none can be resumed.")
    ] = False,
    report: Report = None,
    timeline: TimelinePath = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask if the account has less room than the upload needs.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    proxy: Proxy = None,
    ca: Ca = None,
    _verbose: Verbose = False,
) -> None:
    """Upload files and folders. Run the same command again to resume after a stop.

    Exit status: 0, 1 if something failed or the patterns leave nothing to upload, 2 for wrong usage, 130 after Ctrl-C,
    143 after SIGTERM, 129 after SIGHUP.
    """
    if dry_run:
        check_dry_run(report, timeline)
    journal = read_optional_journal(journal, no_journal)
    kept, folders = read_paths(paths)
    known_size = read_size(size)
    check_stdin(kept, name, known_size, dry_run=dry_run)
    check_names(kept, folders, name, contents_only)
    check_comparison(compare, conflict)
    arguments = UploadArguments(
        paths=kept,
        folders=folders,
        target=read_folder(folder, makes=make_folders),
        name=name,
        contents_only=contents_only,
        size=known_size,
        conflict=conflict,
        compare=compare,
        include=include or (),
        exclude=exclude or (),
        is_agreed=yes,
    )
    limits, timeouts = read_limits(parts, bandwidth), read_timeouts(timeout)
    output = read_output(as_json, quiet, report, timeline, verbose=Verbosity.is_verbose)
    service = read_service(account, proxy, ca)
    if dry_run:
        from .dry_run import DryRun

        looking = DryRun(service, output, journal, limits, timeouts)
        finish(lambda: looking.run(arguments), only_prints=True)
    from .upload import UploadRun

    run = UploadRun(service, output, journal, limits, timeouts)
    finish(lambda: run.upload(arguments), run.describe_remains)


@app.command()
@report_usage_errors
def watch(
    path: Annotated[str, typer.Argument(metavar="PATH", help="The folder to watch.")],
    folder: Folder,
    make_folders: MakeFolders = False,
    account: Account = None,
    settle: Annotated[
        float, typer.Option(metavar="SECONDS", help="Upload a file when it has not changed for this long.")
    ] = 10,
    conflict: Annotated[
        Literal["skip", "create", "version", "version-changed"],
        typer.Option(
            help="If a file of the same name and another content exists: create another, or add a version to it."
            " The same file is never uploaded twice."
        ),
    ] = "skip",
    compare: Compare = "auto",
    include: Include = None,
    exclude: Exclude = None,
    parts: Parts = None,
    bandwidth: Bandwidth = None,
    timeout: Stall = None,
    journal: JournalPath = None,
    no_journal: Annotated[bool, typer.Option("--no-journal", help="Do not record uploads.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    proxy: Proxy = None,
    ca: Ca = None,
    _verbose: Verbose = False,
) -> None:
    """Upload a folder and what comes into it.

    Runs until it is stopped. The first SIGTERM lets it finish the files that it has begun. Ctrl-C stops it at once, as
    does a second signal; the same command resumes them.

    Exit status: 0, 1 if a file that failed was never uploaded, 2 for wrong usage, 130 after Ctrl-C, 129 after SIGHUP.
    """
    from .watch import WatchRun

    kept = read_optional_journal(journal, no_journal)
    arguments = WatchArguments(
        label=path,
        path=read_watched(path),
        target=read_folder(folder, makes=make_folders),
        settle=settle,
        conflict=conflict,
        compare=compare,
        include=include or (),
        exclude=exclude or (),
    )
    limits, timeouts = read_limits(parts, bandwidth), read_timeouts(timeout)
    output = read_output(as_json, quiet, None, None, verbose=Verbosity.is_verbose)
    run = WatchRun(read_service(account, proxy, ca), output, kept, limits, timeouts)
    finish(lambda: run.watch(arguments), run.describe_remains, on_terminate=run.stop)


@app.command()
@report_usage_errors
def remote(
    url: Annotated[str, typer.Argument(metavar="URL", help="A public or presigned URL; - reads it from stdin.")],
    folder: Folder,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the file at Frame.io (default: from the URL).")
    ] = None,
    account: Account = None,
    as_json: Json = False,
    proxy: Proxy = None,
    ca: Ca = None,
    _verbose: Verbose = False,
) -> None:
    """Let Frame.io fetch a file from a URL."""
    from .commands import run_remote

    target = read_folder(folder)
    source, file_name = read_remote_source(url, name)
    service = read_service(account, proxy, ca)
    finish(lambda: run_remote(service, source, target, file_name, as_json))


@app.command()
@report_usage_errors
def status(
    file_id: Annotated[str, typer.Argument(metavar="FILE_ID", help=FILE_HELP)],
    account: Account = None,
    as_json: Json = False,
    proxy: Proxy = None,
    ca: Ca = None,
    _verbose: Verbose = False,
) -> None:
    """Show whether a file has arrived completely.

    Exit status: 1 if its upload failed; 0 otherwise, including 0 while it is not complete yet. Use --json to tell the
    two apart.
    """
    from .commands import run_status

    found = read_file_id(file_id)
    service = read_service(account, proxy, ca)
    finish(lambda: run_status(service, found, as_json), only_prints=True)


@app.command()
@report_usage_errors
def verify(
    path: Annotated[str | None, typer.Argument(metavar="PATH", help="A file on this machine.")] = None,
    file_id: Annotated[str | None, typer.Argument(metavar="FILE_ID", help=FILE_HELP)] = None,
    report: Annotated[
        str | None, typer.Option(metavar="FILE", help="Compare every file of a report that `upload --report` wrote.")
    ] = None,
    root: Annotated[str, typer.Option(metavar="DIR", help="The folder in which the report's paths begin.")] = ".",
    account: Account = None,
    as_json: Json = False,
    proxy: Proxy = None,
    ca: Ca = None,
    _verbose: Verbose = False,
) -> None:
    """Compare local files with those at Frame.io.

    Each line says what proves the result: a checksum of the original, or only its size.

    Exit status: 1 if any differs, is missing or cannot be read. A file of which only the size could be compared is no
    failure: the line says so, and `proved_by` with --json.
    """
    from .verify import read_pairs, run_verify

    pairs = read_pairs(path, file_id, report, root)
    service = read_service(account, proxy, ca)
    finish(lambda: run_verify(service, pairs, as_json), only_prints=True)


@app.command()
@report_usage_errors
def pending(journal: JournalPath = None, as_json: Json = False, _verbose: Verbose = False) -> None:
    """List the unfinished uploads."""
    from .commands import run_pending

    path = read_journal(journal)
    service = read_service(None, None, None, needs_account=False, needs_token=False)
    finish(lambda: run_pending(service, path, as_json), only_prints=True)


@app.command()
@report_usage_errors
def resume(
    parts: Parts = None,
    bandwidth: Bandwidth = None,
    timeout: Stall = None,
    journal: JournalPath = None,
    report: Report = None,
    timeline: TimelinePath = None,
    as_json: Json = False,
    quiet: Quiet = False,
    proxy: Proxy = None,
    ca: Ca = None,
    _verbose: Verbose = False,
) -> None:
    """Resume all unfinished uploads of files.

    Files of a folder that had not begun are not recorded: for these, run the upload of the folder again.
    """
    from .upload import UploadRun

    path = read_journal(journal)
    limits, timeouts = read_limits(parts, bandwidth), read_timeouts(timeout)
    output = read_output(as_json, quiet, report, timeline, verbose=Verbosity.is_verbose)
    run = UploadRun(read_service(None, proxy, ca, needs_account=False), output, path, limits, timeouts)
    finish(lambda: run.resume(path), run.describe_remains)


@app.command()
@report_usage_errors
def discard(
    file_ids: Annotated[
        list[str],
        typer.Argument(metavar="FILE_ID", help="IDs or paths of the files, as `pending` lists them, or their links."),
    ],
    journal: JournalPath = None,
    proxy: Proxy = None,
    ca: Ca = None,
    _verbose: Verbose = False,
) -> None:
    """Discard unfinished uploads for good.

    Their incomplete files at Frame.io are deleted.
    """
    from .commands import run_discard

    path = read_journal(journal)
    service = read_service(None, proxy, ca, needs_account=False)
    finish(lambda: run_discard(service, path, file_ids))


@app.command()
@report_usage_errors
def find(
    project: Annotated[
        str | None,
        typer.Argument(metavar="PROJECT", help="Show only this project: its ID, its link, its name or a part of it."),
    ] = None,
    depth: Annotated[int, typer.Option(metavar="N", min=0, help="How many levels of folders to show.")] = 1,
    account: Account = None,
    as_json: Json = False,
    proxy: Proxy = None,
    ca: Ca = None,
    _verbose: Verbose = False,
) -> None:
    """Show projects and folders, with their IDs.

    Each line has the kind (account, workspace, project, folder), the ID, and the name. Files are not listed.
    """
    from .browse import run_find

    wanted = read_project(project)
    service = read_service(account, proxy, ca, needs_account=False)
    finish(lambda: run_find(service, wanted, depth, as_json), only_prints=True)


@app.command()
@report_usage_errors
def login(
    client_id: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Client ID of an OAuth credential at Adobe (default: FRAMEIO_CLIENT_ID)."),
    ] = None,
    redirect_uri: Annotated[
        str, typer.Option(metavar="URI", help="Where Adobe sends the browser; registered with the credential.")
    ] = DEFAULT_REDIRECT,
    web_app: Annotated[
        bool,
        typer.Option(
            "--web-app", help="The credential is an OAuth Web App: ask for its secret (or use FRAMEIO_CLIENT_SECRET)."
        ),
    ] = False,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the address.")] = False,
    proxy: Proxy = None,
    ca: Ca = None,
    _verbose: Verbose = False,
) -> None:
    """Log in with an Adobe ID, by the browser. Needs the extra `sdk`.

    The tokens are kept in the system's keyring (extra `keyring`), else in a file that only this user can read.
    """
    from .login import LoginArguments, run_login

    service = read_login_service(proxy, ca)
    arguments = LoginArguments(
        client_id=read_client_id(client_id),
        redirect_uri=read_redirect(redirect_uri),
        is_web_app=web_app,
        opens_browser=not no_browser,
    )
    finish(lambda: run_login(service, arguments), lambda: "not logged in")


@app.command()
@report_usage_errors
def logout(proxy: Proxy = None, ca: Ca = None, _verbose: Verbose = False) -> None:
    """End the login at Adobe, and forget it here."""
    from .login import run_logout

    service = read_login_service(proxy, ca)
    finish(lambda: run_logout(service))


@app.command()
@report_usage_errors
def whoami(as_json: Json = False, proxy: Proxy = None, ca: Ca = None, _verbose: Verbose = False) -> None:
    """Show the user, the accounts and the login.

    That includes how long the login holds.
    """
    from .login import run_whoami

    service = read_service(None, proxy, ca, needs_account=False)
    finish(lambda: run_whoami(service, as_json), only_prints=True)


@app.command()
def demo(
    path: Annotated[
        Path | None,
        typer.Argument(metavar="PATH", help="File to upload (default: a generated sample).", show_default=False),
    ] = None,
    size: Annotated[float, typer.Option(metavar="MB", min=0.001, help="Size of the sample.")] = 200,
    faults: Annotated[
        str | None,
        typer.Option(
            metavar="JSON",
            help="Faults to inject instead of the default two: a list of objects with the fields of"
            " aioframeio_upload.testing.Fault.",
            show_default=False,
        ),
    ] = None,
    _verbose: Verbose = False,
) -> None:
    """Watch an upload recover, on a fake Frame.io.

    The fake runs on this machine, and nothing leaves it.

    Needs no account and no network. Two parts fail during the upload and are sent again. At the end, the SHA-256 of the
    stored file is compared with that of the source: exit status 0 and the word "identical", or 1.
    """
    from .._demo.demo import Demo, run_demo

    finish(lambda: run_demo(Demo(path, round(size * 1_000_000), faults)), lambda: "nothing is left of it")

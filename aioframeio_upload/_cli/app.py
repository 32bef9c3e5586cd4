"""The commands and their options; each command's code is loaded when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from .. import __version__
from .format import FOLDER_FORMS, read_folder
from .output import complain, say
from .runner import Verbosity, finish, limits_of, the_journal, timeouts_of, usable

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,  # no frame around a traceback, and no locals in it: they hold the token
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


Folder = Annotated[str, typer.Option(metavar="ID|URL", help=f"Where to: {FOLDER_FORMS}.")]
Account = Annotated[str | None, typer.Option(metavar="ID", help="Whose; by default FRAMEIO_ACCOUNT_ID.")]
Proxy = Annotated[str | None, typer.Option(metavar="URL", help="By default HTTPS_PROXY, ALL_PROXY and NO_PROXY.")]
Ca = Annotated[
    Path | None,
    typer.Option(metavar="PATH", help="Certificates to be trusted as well, in PEM; by default REQUESTS_CA_BUNDLE."),
]
Patterns = Annotated[list[str] | None, typer.Option(metavar="PATTERN", help="Of paths in a folder; may be repeated.")]
Parts = Annotated[int | None, typer.Option(metavar="N", min=1, help="Part requests in flight.")]
Bandwidth = Annotated[str | None, typer.Option(metavar="RATE", help="Bytes a second at most, as 50M.")]
Stall = Annotated[
    float | None,
    typer.Option(
        "--timeout", metavar="SECONDS", help="Send a part again after so long without a byte moving (default: 30)."
    ),
]
Recorded = Annotated[
    Path | None,
    typer.Option(metavar="PATH", help="Where uploads are recorded; by default in this user's state folder."),
]
Report = Annotated[Path | None, typer.Option(metavar="FILE", help="Write a report of every file there (.json, .csv).")]
Drawn = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Draw what happened over time there (.svg, .png); the extra `plot`.")
]
Json = Annotated[bool, typer.Option("--json", help="Lines of JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only the links of the files that are there.")]


def _be_verbose(asked: bool) -> None:
    Verbosity.asked = Verbosity.asked or asked


Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", callback=_be_verbose, help="Show the library's log on stderr, too.")
]


def _show_version(asked: bool) -> None:
    if asked:
        say(f"aioframeio-upload {__version__}")
        raise typer.Exit


USAGE_ERROR: type[Exception] = typer.BadParameter.__bases__[0]
"""What typer raises for arguments that it cannot read; it exports the one kind of it only."""


def run(arguments: list[str]) -> int:
    """Run a command and return its exit status."""
    Verbosity.asked = False
    try:
        status: int | None = app(arguments, prog_name="aioframeio-upload", standalone_mode=False)
    except USAGE_ERROR as error:
        return _refuse(error)
    return status or 0


def _refuse(error: Any) -> int:
    """Write what cannot be read, as typer would; but its message has the arguments as they came."""
    if error.ctx is not None:
        for line in error.ctx.get_usage().splitlines():
            complain(line)
        complain(f"Try '{error.ctx.command_path} {error.ctx.help_option_names[0]}' for help.")
        complain("")
    complain(f"Error: {error.format_message()}")
    return int(error.exit_code)


@app.callback(invoke_without_command=True)
def commands(
    context: typer.Context,
    _verbose: Verbose = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Put files into Frame.io.

    FRAMEIO_TOKEN and FRAMEIO_ACCOUNT_ID say who you are; for jobs that outlive a token, FRAMEIO_CLIENT_ID and
    FRAMEIO_CLIENT_SECRET (with the extra `sdk`).
    """
    if context.invoked_subcommand is None:
        for line in context.get_help().splitlines():
            complain(line)
        raise typer.Exit(2)


@app.command()
@usable
def upload(
    paths: Annotated[list[str], typer.Argument(metavar="PATH", help="Files and folders.")],
    folder: Folder,
    account: Account = None,
    conflict: Annotated[
        Literal["skip", "create", "version"],
        typer.Option(help="Where a file of that name is there: skip if it is the same, create another, or stack."),
    ] = "skip",
    include: Patterns = None,
    exclude: Patterns = None,
    parts: Parts = None,
    bandwidth: Bandwidth = None,
    timeout: Stall = None,
    journal: Recorded = None,
    no_journal: Annotated[bool, typer.Option("--no-journal", help="Record nothing.")] = False,
    report: Report = None,
    timeline: Drawn = None,
    as_json: Json = False,
    quiet: Quiet = False,
    proxy: Proxy = None,
    ca: Ca = None,
    _verbose: Verbose = False,
) -> None:
    """Upload files and folders; the same command again goes on where it stopped.

    Exit status: 0, 1 something failed, 2 usage, 130 interrupted, 143 terminated, 129 hung up.
    """
    from . import upload as flow
    from .options import read_service

    recorded = the_journal(journal, no_journal, needed=False)
    order = flow.UploadOrder(
        paths=paths,
        target=read_folder(folder),
        conflict=conflict,
        include=include or (),
        exclude=exclude or (),
        journal=recorded,
        limits=limits_of(parts, bandwidth),
        timeouts=timeouts_of(timeout),
    )
    voice = flow.read_voice(as_json, quiet, report, timeline, verbose=Verbosity.asked)
    service = read_service(account, proxy, ca)
    finish(lambda: flow.upload(service, order, voice), lambda: flow.left_off(voice, order.journal))


@app.command()
@usable
def remote(
    url: Annotated[str, typer.Argument(metavar="URL", help="Public or presigned; - reads it from stdin.")],
    folder: Folder,
    name: Annotated[str | None, typer.Option(help="Its name at Frame.io; by default the URL's own.")] = None,
    account: Account = None,
    as_json: Json = False,
    proxy: Proxy = None,
    ca: Ca = None,
    _verbose: Verbose = False,
) -> None:
    """Let Frame.io fetch a file by itself, from a URL."""
    from .commands import remote, remote_source
    from .options import read_service

    target = read_folder(folder)
    source, called = remote_source(url, name)
    service = read_service(account, proxy, ca)
    finish(lambda: remote(service, source, target, called, as_json))


@app.command()
@usable
def status(
    file_id: Annotated[str, typer.Argument(metavar="FILE_ID")],
    account: Account = None,
    as_json: Json = False,
    proxy: Proxy = None,
    ca: Ca = None,
    _verbose: Verbose = False,
) -> None:
    """Say whether a file has arrived as a whole.

    Exit status: 1 where its upload failed; 0 while it is not complete yet, too: --json tells.
    """
    from .commands import status
    from .options import read_service

    service = read_service(account, proxy, ca)
    finish(lambda: status(service, file_id, as_json), shows=True)


@app.command()
@usable
def pending(journal: Recorded = None, as_json: Json = False, _verbose: Verbose = False) -> None:
    """List the uploads that were begun and are not finished."""
    from .commands import pending
    from .options import read_service

    recorded = the_journal(journal, False)
    assert recorded is not None
    service = read_service(None, None, None, needs_account=False, needs_token=False)
    finish(lambda: pending(service, recorded, as_json), shows=True)


@app.command()
@usable
def resume(
    parts: Parts = None,
    bandwidth: Bandwidth = None,
    timeout: Stall = None,
    journal: Recorded = None,
    report: Report = None,
    timeline: Drawn = None,
    as_json: Json = False,
    quiet: Quiet = False,
    proxy: Proxy = None,
    ca: Ca = None,
    _verbose: Verbose = False,
) -> None:
    """Go on with all uploads that are pending."""
    from . import upload as flow
    from .options import read_service

    recorded = the_journal(journal, False)
    assert recorded is not None
    limits, timeouts = limits_of(parts, bandwidth), timeouts_of(timeout)
    voice = flow.read_voice(as_json, quiet, report, timeline, verbose=Verbosity.asked)
    service = read_service(None, proxy, ca, needs_account=False)
    finish(lambda: flow.resume(service, recorded, limits, timeouts, voice), lambda: flow.left_off(voice, recorded))


@app.command()
@usable
def discard(
    file_ids: Annotated[list[str], typer.Argument(metavar="FILE_ID", help="As `pending` shows them.")],
    journal: Recorded = None,
    proxy: Proxy = None,
    ca: Ca = None,
    _verbose: Verbose = False,
) -> None:
    """Give up pending uploads, and remove their unfinished files."""
    from .commands import discard
    from .options import read_service

    recorded = the_journal(journal, False)
    assert recorded is not None
    service = read_service(None, proxy, ca, needs_account=False)
    finish(lambda: discard(service, recorded, file_ids))


@app.command()
@usable
def find(
    project: Annotated[str | None, typer.Argument(metavar="[PROJECT]", help="Only this project: name or id.")] = None,
    depth: Annotated[int, typer.Option(min=0, help="How deep into folders.")] = 1,
    account: Account = None,
    as_json: Json = False,
    proxy: Proxy = None,
    ca: Ca = None,
    _verbose: Verbose = False,
) -> None:
    """Show accounts, workspaces, projects and folders, with the ids that an upload needs."""
    from .browse import find
    from .options import read_service

    service = read_service(account, proxy, ca, needs_account=False)
    finish(lambda: find(service, project, depth, as_json), shows=True)


@app.command()
def demo(
    path: Annotated[
        Path | None,
        typer.Argument(metavar="PATH", help="What to upload; by default a sample is made.", show_default=False),
    ] = None,
    size: Annotated[float, typer.Option(metavar="MB", min=0.001, help="How large the sample is.")] = 200,
    faults: Annotated[
        str | None,
        typer.Option(
            metavar="JSON",
            help="What goes wrong instead of the two faults: a list of objects with the fields of"
            " aioframeio_upload.testing.Fault.",
            show_default=False,
        ),
    ] = None,
    _verbose: Verbose = False,
) -> None:
    """Watch an upload heal, into a Frame.io that runs on this machine.

    Needs no account and no network. Two parts fail on the way. In the end the SHA-256 of what arrived is compared with
    the source's own: exit status 0 and the word "identical", or 1.
    """
    from .._demo.demo import Demo, run_demo

    finish(lambda: run_demo(Demo(path, round(size * 1_000_000), faults)), lambda: "nothing is left of it")

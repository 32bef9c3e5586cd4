"""The commands, on the package's public names only."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from . import __version__
from ._demo import Demo, run_demo

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # no frame around a traceback, and no locals in it: they hold the token
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

INTERRUPTED = 130
"""128 + SIGINT, as shells count."""


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"aioframeio-upload {__version__}")
        raise typer.Exit


@app.callback()
def commands(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Put files into Frame.io."""


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
) -> None:
    """Watch an upload heal, into a Frame.io that runs on this machine.

    Needs no account and no network. Two parts fail on the way. In the end the SHA-256 of what arrived is compared with
    the source's own: exit status 0 and the word "identical", or 1.
    """
    try:
        status = asyncio.run(run_demo(Demo(path, round(size * 1_000_000), faults)))
    except KeyboardInterrupt:
        typer.echo("interrupted; nothing is left of it", err=True)
        status = INTERRUPTED
    raise typer.Exit(status)

"""Run the command line, or name the extra `cli` if its packages are not installed."""

from __future__ import annotations

import sys
from typing import NoReturn

from ._cli import exit_status
from ._cli.signals import exit_process, restore_default_sigint

MISSING = "The command line needs rich, typer and platformdirs: pip install 'aioframeio-upload[cli]'"


def main() -> NoReturn:
    """Run the command line; the entry point of the console script `aioframeio-upload`."""
    restore_default_sigint()  # before the slow imports, during which Ctrl-C may come
    from ._cli.output import open_standard_streams, write_error

    open_standard_streams()
    try:
        from ._cli.app import run

        exit_process(run(sys.argv[1:]))
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("rich", "typer", "platformdirs"):
            raise
        write_error(MISSING)
        exit_process(exit_status.USAGE)


if __name__ == "__main__":
    main()

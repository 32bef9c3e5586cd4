"""The command line's door: it needs the extra `cli`, and says so in a sentence where that is missing."""

from __future__ import annotations

import sys
from typing import NoReturn

from ._cli.signals import end_by_signals, leave

MISSING = "The command line needs rich, typer and platformdirs: pip install 'aioframeio-upload[cli]'"


def main() -> NoReturn:
    """Run the command line; the console script `aioframeio-upload` calls this."""
    end_by_signals()  # before anything else is loaded, which takes long enough for a Ctrl-C
    from ._cli.output import complain, open_standard_streams

    open_standard_streams()
    try:
        from ._cli.app import run

        leave(run(sys.argv[1:]))
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("rich", "typer", "platformdirs"):
            raise
        complain(MISSING)
        leave(2)


if __name__ == "__main__":
    main()

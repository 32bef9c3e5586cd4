"""The command line's door: it needs the extra `cli`, and says so in a sentence where that is missing."""

from __future__ import annotations

import sys

MISSING = "The command line needs rich, typer and platformdirs: pip install 'aioframeio-upload[cli]'"


def main() -> None:
    """Run the command line; the console script `aioframeio-upload` calls this."""
    try:
        from ._cli import app

        app(prog_name="aioframeio-upload")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("rich", "typer", "platformdirs"):
            raise
        sys.stderr.write(MISSING + "\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()

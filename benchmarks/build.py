"""Compile the C programs of the benchmarks, and report what is missing."""

from __future__ import annotations

import sys

from .harness.native import LIBRARIES, Missing, built


def main() -> int:
    """Compile all programs; for each that does not compile, print what has to be installed."""
    missing = 0
    for name in LIBRARIES:
        try:
            print(built(name))
        except Missing as reason:
            missing += 1
            print(reason, file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())

"""Do the C programs of the benchmarks compile here, and if not, what is missing?"""

from __future__ import annotations

import sys

from .harness.native import LIBRARIES, Missing, built


def main() -> int:
    """Compile all of them; say what each one needs that is not there."""
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

"""Executes a statement and says how long that took: an import, or a command."""

import sys
import time

began = time.perf_counter()
try:  # noqa: SIM105 - contextlib is part of what is measured
    exec(sys.argv[1])
except SystemExit:
    pass
seconds = time.perf_counter() - began
print(f'\n{{"seconds": {seconds}, "modules": {len(sys.modules)}}}')

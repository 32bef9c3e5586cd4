"""Execute a statement, an import or a command, and print how long it took."""

import sys
import time

began = time.perf_counter()
try:  # noqa: SIM105  # importing contextlib would be measured too
    exec(sys.argv[1])
except SystemExit:
    pass
seconds = time.perf_counter() - began
print(f'\n{{"seconds": {seconds}, "modules": {len(sys.modules)}}}')

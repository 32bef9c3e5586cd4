"""Measure a transfer inside its process; every Python client prints the result at its end."""

from __future__ import annotations

import json
import resource
import time
from pathlib import Path
from typing import Any


def used_cpu() -> float:
    """Return the CPU seconds of this process, of all threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class Meter:
    """The clocks of one transfer, from its creation on: after the imports, before connecting."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._cpu = used_cpu()

    def finish(self, **more: Any) -> None:
        """Print the measurements and other fields as a line of JSON."""
        seconds, cpu = time.monotonic() - self._began, used_cpu() - self._cpu
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        memory = int(status.partition("VmHWM:")[2].split()[0]) * 1024
        print(json.dumps({"seconds": seconds, "cpu": cpu, "memory": memory, **more}))

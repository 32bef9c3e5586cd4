"""How long did the transfer take in this process, and what did it use? What every Python client prints at its end."""

from __future__ import annotations

import json
import resource
import time
from pathlib import Path
from typing import Any


def used_cpu() -> float:
    """Give the CPU seconds of this process, all of its threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class Meter:
    """The clocks of one transfer; imports are not in it, connecting is."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._cpu = used_cpu()

    def finish(self, **told: Any) -> None:
        """Print what it took."""
        seconds, cpu = time.monotonic() - self._began, used_cpu() - self._cpu
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        memory = int(status.partition("VmHWM:")[2].split()[0]) * 1024
        print(json.dumps({"seconds": seconds, "cpu": cpu, "memory": memory, **told}))

"""Compute MD5 alone, in one thread, over the same file: the upper limit with the ETag check."""

from __future__ import annotations

import hashlib
import threading

from .job import Job
from .meter import Meter

BLOCK = 256 << 10


def hash_all(job: Job) -> None:
    """Read the file through one buffer and hash it."""
    buffer = bytearray(BLOCK)
    digest = hashlib.md5(usedforsecurity=False)
    with open(job.file, "rb", buffering=0) as file, memoryview(buffer) as view:
        while got := file.readinto(buffer):
            digest.update(view[:got])


def main() -> None:
    """Hash in a thread while the main thread waits."""
    job = Job.from_argument()
    meter = Meter()
    thread = threading.Thread(target=hash_all, args=(job,))
    thread.start()
    thread.join()
    meter.finish()


if __name__ == "__main__":
    main()

"""A program with a low limit of open files that makes many uploads: those of a folder, or those in a journal.

As a separate process: `python -m tests.support.crowded JSON`, with the argument that `start` passes; it prints a line
of JSON.
"""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aioframeio_upload import Limits, Uploader
from aioframeio_upload.testing import FakeFrameio

OPEN_FILES = 128


async def main(job: dict[str, Any]) -> dict[str, Any]:
    async with Uploader(
        job["token"],
        account_id=job["account_id"],
        base_url=job["url"],
        journal=job["journal"],
        limits=Limits(api_pacing=False),
    ) as uploader:
        if job["verb"] == "folder":
            result = await uploader.upload_folder(job["root"], folder_id=job["folder_id"], conflict="version")
            return {"files": len(result.files), "failures": len(result.failures)}
        uploads = await uploader.resume_pending()
        # From here on no other Uploader can claim them.
        async with Uploader(job["token"], base_url=job["url"], journal=job["journal"]) as other:
            left = len(await other.resume_pending())
        sources = {str(upload.source) for upload in uploads}
        files = await asyncio.gather(*uploads)
        return {
            "files": len(files),
            "outcomes": sorted({file.outcome for file in files}),
            "left": left,
            "sources": len(sources),
            "pending": len(await uploader.pending()),
        }


@contextmanager
def start(fake: FakeFrameio, journal: Path, verb: str, **how: Any) -> Iterator[subprocess.Popen[str]]:
    """Start the program, and kill it at the end of the block."""
    job = {
        "url": fake.url,
        "token": fake.token,
        "account_id": fake.account_id,
        "folder_id": fake.folder_id,
        "journal": str(journal),
        "verb": verb,
        **how,
    }
    command = [sys.executable, __file__, json.dumps(job)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8") as process:
        try:
            yield process
        finally:
            process.kill()


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
    sys.stdout.write(json.dumps(asyncio.run(main(json.loads(sys.argv[1])))) + "\n")

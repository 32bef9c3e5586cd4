"""Upload one file in two processes: the first is killed, the second sends only what is missing."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from itertools import islice
from pathlib import Path

from aioframeio_upload import PartCompleted, Uploader, UploadResumed
from aioframeio_upload.testing import FakeFrameio, Fault

PARTS, PART = 8, 1_000_000


async def upload(url: str, token: str, account_id: str, folder_id: str, folder: str) -> None:
    """Run a worker: resume the uploads of the journal; if there are none, start one."""
    journal, source = Path(folder, "uploads.sqlite3"), Path(folder, "take.mov")
    async with Uploader(token, account_id=account_id, base_url=url, journal=journal) as uploader:
        pending = await uploader.resume_pending()
        for one in pending or [uploader.upload(source, folder_id=folder_id, conflict="skip")]:
            async for event in one:
                match event:
                    case UploadResumed(parts_completed=parts, bytes_completed=size):
                        print(f"goes on: {parts} parts, {size} bytes are there already", flush=True)
                    case PartCompleted(number=number):
                        print(f"part {number} arrived", flush=True)
            print(f"{(await one).outcome}: {(await one).view_url}", flush=True)


def main() -> None:
    """Run the supervisor: start a worker, kill it, start another one."""
    with tempfile.TemporaryDirectory() as folder, FakeFrameio(part_size=PART).in_thread() as fake:
        Path(folder, "take.mov").write_bytes(b"frame" * (PARTS * PART // 5))
        # The last part hangs; the worker is killed after it has reported all others.
        fake.add_fault(Fault(do="hold", number=PARTS))
        worker = [sys.executable, __file__, fake.url, fake.token, fake.account_id, fake.folder_id, folder]
        with subprocess.Popen(worker, stdout=subprocess.PIPE, encoding="utf-8") as first:
            assert first.stdout is not None
            for line in islice(first.stdout, PARTS - 1):
                print(line, end="")
            first.kill()
        print("killed", flush=True)
        fake.release()
        subprocess.run(worker, check=True)
        (file,) = fake.files
        sent = [seen.number for seen in fake.requests if seen.operation == "part"]
        print(f"one file, complete: {file.complete}; parts sent: {len(sent)} for {PARTS}")


if __name__ == "__main__":
    if sys.argv[1:]:
        asyncio.run(upload(*sys.argv[1:]))
    else:
        main()

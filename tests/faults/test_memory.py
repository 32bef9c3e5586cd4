"""A gibibyte in parts of 128 MiB, eight at a time: memory is bounded by the blocks in flight, not by the part size."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SIZE = 1 << 30
PART = 128 << 20
MOST_GROWTH = 64 << 20

# In a separate process, because the peak is one of the process. Not `ru_maxrss`, which a child process inherits
# through exec.
UPLOAD = """
import asyncio, json, re, sys
from pathlib import Path
from aioframeio_upload import PartStarted, Uploader

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024

async def upload(path, where):
    async with Uploader(where["token"], account_id=where["account_id"], base_url=where["url"]) as uploader:
        # A small file first, so that sessions, threads and modules exist before the measurement.
        await uploader.upload(b"warm", name="warm.mov", folder_id=where["folder_id"])
        before, most = peak(), 0
        async with uploader.upload(path, folder_id=where["folder_id"]) as upload:
            async for event in upload:
                most = max(most, uploader.statistics().in_flight)
        parts = len(upload.result.etags)
        return {"before": before, "after": peak(), "in_flight": most, "parts": parts, "size": upload.result.size}

print(json.dumps(asyncio.run(upload(sys.argv[1], json.loads(sys.argv[2])))))
"""


@pytest.mark.needs_program
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads VmHWM from /proc")
def test_a_gibibyte_grows_the_process_by_less_than_64_mib(tmp_path: Path) -> None:
    path = tmp_path / "take.mov"
    with path.open("wb") as file:
        file.truncate(SIZE)  # a sparse file: it uses no disk space and is read like any other
    command = [sys.executable, "-m", "aioframeio_upload.testing", "--no-store", "--part-size", str(PART)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as fake:
        assert fake.stdin is not None
        assert fake.stdout is not None
        where = fake.stdout.readline()
        ran = subprocess.run([sys.executable, "-c", UPLOAD, str(path), where], capture_output=True, text=True)
        fake.stdin.close()
    assert (ran.returncode, ran.stderr) == (0, "")
    told = json.loads(ran.stdout)
    assert (told["size"], told["parts"]) == (SIZE, 8)
    assert told["in_flight"] == 8
    assert told["after"] - told["before"] < MOST_GROWTH

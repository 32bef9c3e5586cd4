"""Upload many small files with the official SDK: create each, then `FrameioUploader`, on a pool of threads.

It does not wait for a confirmation: the SDK has no call for that. Its uploader creates an HTTP client for each file.
"""

from __future__ import annotations

import ssl
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import httpx
from frameio import Frameio
from frameio.files import FileCreateLocalUploadParamsData
from frameio.upload import FrameioUploader

from .meter import Meter
from .small_job import SmallJob


def send(client: Frameio, job: SmallJob, path: Path) -> None:
    """Upload one file."""
    asked = FileCreateLocalUploadParamsData(name=path.name, file_size=path.stat().st_size)
    made = client.files.create_local_upload(job.account_id, job.folder_id, data=asked)
    with path.open("rb") as file:
        FrameioUploader(made.data, file).upload()


def main() -> None:
    """Upload every file once, with one API client that all threads share."""
    job = SmallJob.from_argument()
    paths = job.paths()
    verify: ssl.SSLContext | bool = ssl.create_default_context(cafile=job.ca) if job.ca else True
    meter = Meter()
    with httpx.Client(verify=verify, timeout=60) as http, ThreadPoolExecutor(job.workers) as pool:
        client = Frameio(token=job.token, base_url=job.base, httpx_client=http)
        done = list(pool.map(partial(send, client, job), paths))
    meter.finish(files=len(done))


if __name__ == "__main__":
    main()

"""What does the official SDK's `FrameioUploader` take for the same parts?

Its TLS context trusts what SSL_CERT_FILE names (httpx reads it), which the benchmark sets.
"""

from __future__ import annotations

import frameio.core.chunked_uploader
import httpx  # noqa: F401  # the SDK imports it when it first sends: not on the clock
from frameio.types.file_with_upload_urls import FileWithUploadUrls
from frameio.types.upload_url import UploadUrl
from frameio.upload import FrameioUploader

from .job import Job
from .meter import Meter


def main() -> None:
    """Do the job."""
    job = Job.from_argument()
    made = job.created()
    urls = [UploadUrl(**one) for one in made.pop("upload_urls")]
    asset = FileWithUploadUrls.model_construct(**made, upload_urls=urls)
    meter = Meter()
    with open(job.file, "rb") as file:
        FrameioUploader(asset, file, max_workers=job.in_flight).upload()
    meter.finish(client=frameio.core.chunked_uploader.__name__)


if __name__ == "__main__":
    main()

"""Send the same parts with the official SDK's `FrameioUploader`.

Its TLS context trusts the certificate in SSL_CERT_FILE, which httpx reads; the benchmark sets it.
"""

from __future__ import annotations

import frameio.core.chunked_uploader
import httpx  # noqa: F401  # the SDK imports it when it first sends, which must not be measured
from frameio.types.file_with_upload_urls import FileWithUploadUrls
from frameio.types.upload_url import UploadUrl
from frameio.upload import FrameioUploader

from .job import Job
from .meter import Meter


def main() -> None:
    """Run the job."""
    job = Job.from_argument()
    assert job.in_flight is not None
    made = job.created()
    urls = [UploadUrl(**one) for one in made.pop("upload_urls")]
    asset = FileWithUploadUrls.model_construct(**made, upload_urls=urls)
    meter = Meter()
    with open(job.file, "rb") as file:
        FrameioUploader(asset, file, max_workers=job.in_flight).upload()
    meter.finish(client=frameio.core.chunked_uploader.__name__)


if __name__ == "__main__":
    main()

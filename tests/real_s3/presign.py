"""A real server in the role of Frame.io's storage: links that botocore signs, and the objects that the server stored.

All functions block; from a coroutine call them in a thread, except `create_response`, which only computes.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock
from urllib.parse import unquote, urlsplit

import botocore.auth
import botocore.config
import botocore.exceptions
import botocore.session

BUCKET = "uploads"
BLOCK = 1024 * 1024
ACL = "private"

# A name whose characters must all arrive as they were signed: a client that decodes and encodes it again, or that
# takes a plus for a space, is refused.
AWKWARD = """take 1 + 2 = "100%25" & 'A'@home~é"""

NOT_READY = (
    botocore.exceptions.ConnectionError,
    botocore.exceptions.HTTPClientError,
    botocore.exceptions.ClientError,
)


@dataclass(frozen=True)
class Access:
    """The address of a server, and the keys it was started with."""

    host: str
    port: int
    key: str
    secret: str


class S3Server:
    """A running server, with what the tests of uploads need."""

    def __init__(self, name: str, access: Access) -> None:
        self.name = name
        self.url = f"http://{access.host}:{access.port}"
        self._client = client_for(self.url, access)

    def create_response(
        self,
        size: int,
        part_sizes: Sequence[int],
        *,
        media_type: str = "video/mp4",
        expires: int = 3600,
        age: float = 0.0,
        at: str | None = None,
    ) -> dict[str, Any]:
        """Return Frame.io's answer to `create file`, with links that lead to this server.

        `expires` is the lifetime of the links in seconds, and `age` how long ago they were signed. `at` is the URL of a
        proxy that they lead to; they are signed for its host and port, by which the server is then called.
        """
        if sum(part_sizes) != size:
            raise ValueError(f"parts of {sum(part_sizes)} bytes for a file of {size}")
        file_id = str(uuid.uuid4())
        keys = [f"parts/{file_id}/{AWKWARD}/part_{number}" for number in range(1, len(part_sizes) + 1)]
        with signing_ago(age):
            urls = [self.sign_put(key, media_type, expires, at) for key in keys]
        return {
            "id": file_id,
            "name": AWKWARD,
            "file_size": size,
            "media_type": media_type,
            "view_url": f"https://next.frame.io/project/{uuid.uuid4()}/view/{file_id}",
            "parent_id": str(uuid.uuid4()),
            "upload_urls": [{"size": n, "url": url} for n, url in zip(part_sizes, urls, strict=True)],
        }

    def sign_put(self, key: str, media_type: str, expires: int, at: str | None = None) -> str:
        """Return a link for one PUT, signed over content-type, host and x-amz-acl as Frame.io's are."""
        what = {"Bucket": BUCKET, "Key": key, "ContentType": media_type, "ACL": ACL}

        def lead_there(request: Any, **_: Any) -> None:
            request.url = request.url.replace(self.url, at or self.url, 1)

        # Creating a client for that address would read botocore's model of S3 from the disk again.
        events = self._client.meta.events
        events.register("before-sign.s3.PutObject", lead_there)
        try:
            url: str = self._client.generate_presigned_url("put_object", what, ExpiresIn=expires)
        finally:
            events.unregister("before-sign.s3.PutObject", lead_there)
        return url

    def store_original(self, parts: Sequence[bytes], *, expires: int = 3600, age: float = 0.0) -> str:
        """Store an object, as a multipart upload if it has several parts, and return a link for one GET."""
        key = f"uploads/{uuid.uuid4()}/original.mov"
        if len(parts) == 1:
            self._client.put_object(Bucket=BUCKET, Key=key, Body=parts[0])
        else:
            what = {"Bucket": BUCKET, "Key": key}
            what["UploadId"] = self._client.create_multipart_upload(**what)["UploadId"]
            etags = [
                {"PartNumber": number, "ETag": self._client.upload_part(**what, PartNumber=number, Body=part)["ETag"]}
                for number, part in enumerate(parts, 1)
            ]
            self._client.complete_multipart_upload(**what, MultipartUpload={"Parts": etags})
        with signing_ago(age):
            url: str = self._client.generate_presigned_url(
                "get_object", {"Bucket": BUCKET, "Key": key}, ExpiresIn=expires
            )
        return url

    def sha256(self, response: dict[str, Any]) -> str:
        """Return the SHA-256, in hex, of the stored parts, joined in order."""
        digest = hashlib.sha256()
        for key in keys_of(response):
            for block in self._client.get_object(Bucket=BUCKET, Key=key)["Body"].iter_chunks(BLOCK):
                digest.update(block)
        return digest.hexdigest()

    def stored(self, response: dict[str, Any]) -> list[int | None]:
        """Return the size of each stored part; None for one that is not stored."""
        return [self._size(key) for key in keys_of(response)]

    def delete(self, response: dict[str, Any]) -> None:
        """Delete the parts, whether they were stored or not."""
        for key in keys_of(response):
            self._client.delete_object(Bucket=BUCKET, Key=key)

    def why_not_ready(self) -> str | None:
        """Make the bucket and store an object; return None if that works, otherwise the reason."""
        try:
            self._client.create_bucket(Bucket=BUCKET)
            self._client.put_object(Bucket=BUCKET, Key="ready", Body=b"ready")
        except NOT_READY as error:
            return str(error)
        return None

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _size(self, key: str) -> int | None:
        try:
            return int(self._client.head_object(Bucket=BUCKET, Key=key)["ContentLength"])
        except botocore.exceptions.ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
                raise
            return None


@contextmanager
def signing_ago(seconds: float) -> Iterator[None]:
    """Let botocore sign as it did so long ago: it signs with the current time and has no parameter for another."""
    signed_at = datetime.now(UTC) - timedelta(seconds=seconds)
    # Where awscrt is installed, botocore has that sign, with another clock, unless it is told to use its own code.
    own = {"s3v4-query": botocore.auth.S3SigV4QueryAuth}
    with (
        mock.patch.dict(botocore.auth.AUTH_TYPE_MAPS, own),
        mock.patch.object(botocore.auth, "get_current_datetime", return_value=signed_at),
    ):
        yield


def keys_of(response: dict[str, Any]) -> Iterator[str]:
    """Yield the key of each part, read from its link."""
    for part in response["upload_urls"]:
        path = unquote(urlsplit(part["url"]).path)
        yield path.removeprefix(f"/{BUCKET}/")


def client_for(url: str, access: Access) -> Any:
    """Return botocore's client for a server: with the bucket in the path, without retries and checksums."""
    config = botocore.config.Config(
        signature_version="s3v4",
        s3={"addressing_style": "path"},
        retries={"total_max_attempts": 1},
        connect_timeout=5,
        read_timeout=30,
        # "when_supported", the default, signs a checksum of an empty body into the link.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    session = botocore.session.Session(profile=None, include_builtin_handlers=True)
    return session.create_client(
        "s3",
        region_name="us-east-1",
        endpoint_url=url,
        aws_access_key_id=access.key,
        aws_secret_access_key=access.secret,
        config=config,
    )

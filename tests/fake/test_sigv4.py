"""The fake's signatures compared with botocore's, and each reason for which S3 refuses one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from aioframeio_upload.testing._sigv4 import Keys, presign, refusal

KEYS = Keys("AKIAEXAMPLE", "not a secret")
HOST = "127.0.0.1:8080"
HEADERS = {"content-type": "video/mp4", "host": HOST, "x-amz-acl": "private"}
METADATA = [("x-amz-meta-asset_id", "1"), ("x-amz-meta-odd", "a/b@c'd e+f=g%2F")]
PATH = "/parts/0f/part_1"


def now() -> datetime:
    return datetime.now(UTC)


def ours(path: str = PATH, at: datetime | None = None, lifetime: int = 60) -> str:
    return presign(
        KEYS, method="PUT", path=path, headers=HEADERS, parameters=METADATA, at=at or now(), lifetime=lifetime
    )


def botocores(path: str = PATH) -> str:
    """Return the same request, presigned by botocore."""
    request = AWSRequest(
        method="PUT",
        url=f"http://{HOST}{path}",
        headers={"Content-Type": "video/mp4", "x-amz-acl": "private"},
        params=dict(METADATA),
    )
    S3SigV4QueryAuth(Credentials(KEYS.access, KEYS.secret), "s3", KEYS.region, expires=60).add_auth(request)
    url: Any = request.url
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"


def refused(target: str, headers: dict[str, str] | None = None, method: str = "PUT") -> tuple[int, str] | None:
    answer = refusal(KEYS, method=method, target=target, headers=HEADERS if headers is None else headers, now=now())
    return None if answer is None else answer[:2]


def test_a_url_that_botocore_presigned_is_accepted() -> None:
    assert refused(botocores()) is None


def test_our_signature_is_the_one_that_botocore_makes() -> None:
    theirs = botocores()
    at = datetime.strptime(dict(parse_qsl(theirs))["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    mine = ours(at=at)
    assert set(mine.partition("?")[2].split("&")) == set(theirs.partition("?")[2].split("&"))


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=30))
def test_any_path_that_was_signed_is_accepted(name: str) -> None:
    assert refused(ours(path=f"/uploads/{name}")) is None


def without(name: str) -> dict[str, str]:
    return {header: value for header, value in HEADERS.items() if header != name}


MISMATCH = (403, "SignatureDoesNotMatch")


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        pytest.param(HEADERS | {"content-type": "video/quicktime"}, MISMATCH, id="another content type"),
        pytest.param(without("content-type"), MISMATCH, id="no content type"),
        pytest.param(without("x-amz-acl"), MISMATCH, id="no acl"),
        pytest.param(HEADERS | {"x-amz-acl": "public-read"}, MISMATCH, id="another acl"),
        pytest.param(HEADERS | {"host": "localhost:8080"}, MISMATCH, id="another host"),
        pytest.param(HEADERS | {"x-amz-tagging": "a=b"}, (403, "AccessDenied"), id="an amz header not signed"),
        pytest.param(HEADERS | {"authorization": "Bearer x"}, (400, "InvalidArgument"), id="two mechanisms"),
        pytest.param(HEADERS | {"user-agent": "x", "content-md5": "y"}, None, id="other headers do not matter"),
        pytest.param(HEADERS | {"content-type": "  video/mp4 "}, None, id="spaces around do not matter"),
    ],
)
def test_headers_are_checked_against_the_signature(headers: dict[str, str], expected: object) -> None:
    assert refused(ours(), headers) == expected


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        pytest.param("part_1", "part_2", MISMATCH, id="another path"),
        pytest.param("asset_id=1", "asset_id=2", MISMATCH, id="another value"),
        pytest.param("%2Fb", "/b", MISMATCH, id="a slash decoded"),
        pytest.param("%40", "@", MISMATCH, id="an at sign decoded"),
        pytest.param("%20", "+", MISMATCH, id="a space as plus"),
        pytest.param("%2B", "+", MISMATCH, id="a plus decoded"),
        pytest.param("%3D", "=", MISMATCH, id="an equals sign decoded"),
        pytest.param("Expires=60", "Expires=61", MISMATCH, id="a longer life"),
        pytest.param("Expires=60", "Expires=604801", (400, "AuthorizationQueryParametersError"), id="too long"),
        pytest.param("X-Amz-Date=", "X-Amz-Date=x", (400, "AuthorizationQueryParametersError"), id="no date"),
        pytest.param("X-Amz-Expires", "X-Expires", (400, "AuthorizationQueryParametersError"), id="incomplete"),
        pytest.param("AWS4-HMAC", "AWS5-HMAC", (400, "AuthorizationQueryParametersError"), id="algorithm"),
        pytest.param("AKIA", "BKIA", (403, "InvalidAccessKeyId"), id="another key"),
        pytest.param("X-Amz-Signature", "X-Signature", (403, "AccessDenied"), id="no signature"),
    ],
)
def test_a_changed_url_is_refused(old: str, new: str, expected: tuple[int, str]) -> None:
    target = ours()
    assert old in target
    assert refused(target.replace(old, new)) == expected


def test_another_method_is_refused() -> None:
    assert refused(ours(), method="GET") == MISMATCH


def test_a_link_expires() -> None:
    old = now() - timedelta(seconds=62)
    answer = refusal(KEYS, method="PUT", target=ours(at=old), headers=HEADERS, now=now())
    assert answer is not None
    assert answer == (403, "AccessDenied", "Request has expired")


def test_no_repr_shows_the_secret_key() -> None:
    assert "not a secret" not in repr(KEYS)

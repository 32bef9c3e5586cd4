"""AWS Signature Version 4 in the query of a URL: sign a request, and check one as S3 does (pure)."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from urllib.parse import quote, unquote

# https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
ALGORITHM = "AWS4-HMAC-SHA256"
STAMP = "%Y%m%dT%H%M%SZ"
QUERY_PARAMETERS = (
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Signature",
)
# Same page: "The maximum value is 604800 seconds (seven days)".
LONGEST_LIFETIME = 604800


class Refusal(NamedTuple):
    """S3's reason to refuse a request: the HTTP status, and the code and message of its XML."""

    status: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Keys:
    """A pair of AWS keys; the repr does not show the secret key."""

    access: str
    secret: str = field(repr=False)
    region: str = "us-east-1"


def uri_encode(text: str, *, keep: str = "") -> str:
    """Percent-encode everything except A-Z a-z 0-9 - . _ ~ and the characters in `keep`."""
    # A space is %20, never "+", and hex digits are upper case: SigV4's UriEncode, not the encoding of forms.
    return quote(text, safe="-._~" + keep)


def presign(  # noqa: PLR0913  # each is a part of the request that AWS's specification signs
    keys: Keys,
    *,
    method: str,
    path: str,
    headers: Mapping[str, str],
    parameters: Iterable[tuple[str, str]],
    at: datetime,
    lifetime: int,
) -> str:
    """Return the path and query of a request that is signed over `headers` but not over its body.

    Args:
        keys: The keys to sign with.
        method: The HTTP method.
        path: The absolute path, not encoded.
        headers: Every header to sign, including `host`.
        parameters: Further query parameters, not encoded.
        at: The time of the signature.
        lifetime: Seconds for which the URL is valid.
    """
    stamp = at.astimezone(UTC).strftime(STAMP)
    signed = {name.lower(): value for name, value in headers.items()}
    names = ";".join(sorted(signed))
    everything = [
        *parameters,
        ("X-Amz-Algorithm", ALGORITHM),
        ("X-Amz-Credential", f"{keys.access}/{_scope(keys, stamp)}"),
        ("X-Amz-Date", stamp),
        ("X-Amz-Expires", str(lifetime)),
        ("X-Amz-SignedHeaders", names),
    ]
    # Sorted after the encoding, as the specification demands: "%7B" sorts before "A", "{" would not.
    pairs = sorted(f"{uri_encode(name)}={uri_encode(value)}" for name, value in everything)
    raw_path = uri_encode(path, keep="/")
    wanted = signature(keys, method, raw_path, pairs, names, signed, stamp)
    return f"{raw_path}?{'&'.join(pairs)}&X-Amz-Signature={wanted}"


def signature(  # noqa: PLR0913  # each is a part of the request that AWS's specification signs
    keys: Keys,
    method: str,
    raw_path: str,
    pairs: Iterable[str],
    names: str,
    headers: Mapping[str, str],
    stamp: str,
) -> str:
    """Return the signature of a request, computed from its parts as sent.

    Args:
        keys: The keys to sign with.
        method: The HTTP method.
        raw_path: The path as sent.
        pairs: The query's `name=value` pairs as sent, without the signature.
        names: The value of X-Amz-SignedHeaders, decoded.
        headers: The request's headers by lower-case name.
        stamp: The value of X-Amz-Date.
    """
    canonical_headers = "".join(f"{name}:{_trimmed(headers.get(name, ''))}\n" for name in names.split(";"))
    # The path is encoded once for S3; every other AWS service signs it encoded twice. A presigned URL cannot know its
    # body, so the hash of the body is the constant UNSIGNED-PAYLOAD.
    request = "\n".join([method, raw_path, "&".join(sorted(pairs)), canonical_headers, names, "UNSIGNED-PAYLOAD"])
    to_sign = "\n".join(
        [ALGORITHM, stamp, _scope(keys, stamp), hashlib.sha256(request.encode("utf-8", "surrogateescape")).hexdigest()]
    )
    key = f"AWS4{keys.secret}".encode()
    for step in (stamp[:8], keys.region, "s3", "aws4_request", to_sign):
        key = hmac.digest(key, step.encode(), "sha256")
    return key.hex()


def refusal(keys: Keys, *, method: str, target: str, headers: Mapping[str, str], now: datetime) -> Refusal | None:
    """Return why S3 refuses a presigned request, or None if it accepts it.

    The signature is checked over the query as it was received. S3 decodes and re-encodes the query first, so it accepts
    some changes that a client makes to a URL. Which ones is not documented, so this accepts none.

    Args:
        keys: The keys whose signatures are valid.
        method: The HTTP method.
        target: Path and query as received, not decoded.
        headers: The request's headers by lower-case name.
        now: The server's time.
    """
    raw_path, _, query = target.partition("?")
    pairs = [pair for pair in query.split("&") if pair]
    auth = {name: value for name, _, value in (pair.partition("=") for pair in pairs) if name in QUERY_PARAMETERS}
    if "X-Amz-Signature" not in auth:
        return Refusal(403, "AccessDenied", "Access Denied")
    if "authorization" in headers:
        return Refusal(
            400,
            "InvalidArgument",
            "Only one auth mechanism allowed; only the X-Amz-Algorithm query "
            "parameter, Signature query string parameter or the Authorization header should be specified",
        )
    return _incomplete(keys, auth) or _expired(auth, now) or _mismatch(keys, method, raw_path, pairs, auth, headers)


def _incomplete(keys: Keys, auth: Mapping[str, str]) -> Refusal | None:
    missing = [name for name in QUERY_PARAMETERS if not auth.get(name)]
    lifetime = auth.get("X-Amz-Expires", "")
    code = "AuthorizationQueryParametersError"
    if missing:
        return Refusal(
            400,
            code,
            "Query-string authentication version 4 requires the X-Amz-Algorithm, "
            "X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires "
            "parameters.",
        )
    if auth["X-Amz-Algorithm"] != ALGORITHM:
        return Refusal(400, code, f'X-Amz-Algorithm only supports "{ALGORITHM}"')
    if not lifetime.isascii() or not lifetime.isdigit() or int(lifetime) > LONGEST_LIFETIME:
        return Refusal(
            400,
            code,
            "X-Amz-Expires must be less than a week (in seconds); that is, the given "
            "X-Amz-Expires must be less than 604800 seconds",
        )
    if _signed_at(auth["X-Amz-Date"]) is None:
        return Refusal(400, code, "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"")
    if unquote(auth["X-Amz-Credential"]).partition("/")[0] != keys.access:
        return Refusal(403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.")
    return None


def _expired(auth: Mapping[str, str], now: datetime) -> Refusal | None:
    signed_at = _signed_at(auth["X-Amz-Date"])
    if signed_at is not None and signed_at + timedelta(seconds=int(auth["X-Amz-Expires"])) < now:
        return Refusal(403, "AccessDenied", "Request has expired")
    return None


def _mismatch(
    keys: Keys, method: str, raw_path: str, pairs: list[str], auth: Mapping[str, str], headers: Mapping[str, str]
) -> Refusal | None:
    # Same page: X-Amz-SignedHeaders must include `host` and every `x-amz-*` header that the request has.
    names = unquote(auth["X-Amz-SignedHeaders"])
    unsigned = [name for name in headers if name.startswith("x-amz-") and name not in names.split(";")]
    if unsigned:
        return Refusal(403, "AccessDenied", "There were headers present in the request which were not signed")
    others = [pair for pair in pairs if not pair.startswith("X-Amz-Signature=")]
    wanted = signature(keys, method, raw_path, others, names, headers, auth["X-Amz-Date"])
    if not hmac.compare_digest(wanted.encode(), auth["X-Amz-Signature"].encode("utf-8", "surrogateescape")):
        return Refusal(
            403,
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the "
            "signature you provided. Check your key and signing method.",
        )
    return None


def _signed_at(stamp: str) -> datetime | None:
    try:
        return datetime.strptime(stamp, STAMP).replace(tzinfo=UTC)
    except ValueError:
        return None


def _scope(keys: Keys, stamp: str) -> str:
    return f"{stamp[:8]}/{keys.region}/s3/aws4_request"


def _trimmed(value: str) -> str:
    # The specification's Trim: no white space around a value, and one space for several inside it.
    return " ".join(value.split())

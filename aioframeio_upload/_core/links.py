"""Decide which URLs a part may be sent to: the links of a plan, and the target of a redirect."""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import SplitResult, urljoin, urlsplit

from .hosts import is_host, is_loopback
from .redact import split_url

AWS = (
    "amazonaws.com",
    "amazonaws.com.cn",
    "amazonaws.eu",
    "c2s.ic.gov",
    "sc2s.sgov.gov",
    "cloud.adc-e.uk",
    "csp.hci.ic.gov",
)
"""The DNS suffixes of AWS's partitions (botocore, `partitions.json`)."""

_REGION = r"[a-z]{2,4}(?:-[a-z]+)+-[0-9]+"
_S3 = re.compile(
    rf"(?:.+\.)?s3(?:-accelerate|-external-1|-fips|-accesspoint|-accesspoint-fips|-{_REGION}|-fips-{_REGION})?"
    rf"(?:\.dualstack)?(?:\.{_REGION})?\.(?P<suffix>{'|'.join(map(re.escape, AWS))})"
)
"""S3's own hosts, with or without a bucket: global, regional (with `.` or the older `-`), accelerated, dual-stack, FIPS
and access points (AWS General Reference, Amazon S3 endpoints). `amazonaws.com` alone would not suffice: anybody can
rent a host below it, such as `ec2-….compute.amazonaws.com`."""

_ORIGIN = re.compile(r"https?://[^/?#]*", re.IGNORECASE)
_UNESCAPED = re.compile(r"[!-\[\]-~]+")
"""Printable ASCII without the space and the backslash: RFC 3986 allows neither, and yarl refuses the latter."""


def is_usable(url: str) -> bool:
    """Return whether a URL can be requested exactly as it is: a valid host, and no character that needs escaping.

    Re-encoding a presigned URL would break its signature (aiohttp issues 4307 and 5512).
    """
    origin = _ORIGIN.match(url)
    return origin is not None and _UNESCAPED.fullmatch(url) is not None and _is_origin(origin[0])


@lru_cache(maxsize=64)
def _is_origin(origin: str) -> bool:
    # Cached, because the links of a plan share one origin, and splitting 10,000 of them takes a quarter of a second.
    found = split_url(origin)
    return found is not None and is_host(found.hostname)


def is_secure(url: str) -> bool:
    """Return whether requests to a URL are encrypted."""
    return url[:6].lower() == "https:"


def stays_here(url: str) -> bool:
    """Return whether requests to a URL do not leave this machine."""
    found = split_url(url)
    return found is not None and is_loopback(found.hostname or "")


def resolve_redirect(url: str, location: str) -> str | None:
    """Resolve a `Location` header against a URL without re-encoding it; None if the result is not usable."""
    if not (location.isascii() and location.isprintable()):
        return None
    try:
        if location.startswith("//"):
            target = f"{urlsplit(url).scheme}:{location}"
        elif urlsplit(location).scheme:
            target = location
        else:
            target = urljoin(url, location)
    except ValueError:
        return None
    return target if is_usable(target) else None


def why_not_followed(issued: str, url: str, target: str) -> str | None:
    """Return why a redirect of a part must not be followed, or None if it may be.

    The body is unreleased footage, so only S3 (which sends a 307 for new buckets) and the link's own host may get it.

    Args:
        issued: The part's link as the API issued it, which also counts after several redirects.
        url: The URL that redirects.
        target: The target, as returned by `resolve_redirect`.
    """
    first, here, there = split_url(issued), split_url(url), split_url(target)
    if first is None or here is None or there is None or there.hostname is None:
        return "to no usable URL"
    if "@" in there.netloc:
        return "to a URL with a user name"
    if there.scheme != "https" and here.scheme == "https":
        return f"from https to http, at {there.hostname}"
    if (there.hostname, _port(there)) == (first.hostname, _port(first)):
        return None
    suffix = _s3_suffix(first)
    if suffix is not None and suffix == _s3_suffix(there) and _port(there) in (_port(first), None):
        return None
    return f"to {there.hostname}, which is neither S3 nor the host of the link"


def _s3_suffix(url: SplitResult) -> str | None:
    found = _S3.fullmatch((url.hostname or "").removesuffix("."))
    return found["suffix"] if found is not None else None


def _port(url: SplitResult) -> int | None:
    """Return the port of a URL, or None for the default of its scheme, so that http and https compare as equal."""
    return None if url.port in (None, 443 if url.scheme == "https" else 80) else url.port

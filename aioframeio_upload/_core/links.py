"""Which URLs a part may be sent to: what a plan's links must be, and where a redirect may lead."""

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

_REGION = r"[a-z]{2,4}(?:-[a-z]+)+-\d+"
_S3 = re.compile(
    rf"(?:.+\.)?s3(?:-accelerate|-external-1|-fips|-accesspoint|-accesspoint-fips|-{_REGION}|-fips-{_REGION})?"
    rf"(?:\.dualstack)?(?:\.{_REGION})?\.(?P<suffix>{'|'.join(map(re.escape, AWS))})"
)
"""S3's own hosts, with or without a bucket before them: global, of a region (with `.` or, as of old, `-`), accelerated,
dual-stack, FIPS and access points (AWS General Reference, Amazon S3 endpoints). `amazonaws.com` alone would not do:
anybody can rent a host below it, such as `ec2-….compute.amazonaws.com`."""

_ORIGIN = re.compile(r"https?://[^/?#]*", re.IGNORECASE)
_AS_IT_STANDS = re.compile(r"[!-\[\]-~]+")
"""Printable ASCII but the space and the backslash: RFC 3986 knows neither, and yarl refuses the latter."""


def is_usable(url: str) -> bool:
    """Return whether a request can be made of a URL just as it stands: an address, and no character to be escaped."""
    origin = _ORIGIN.match(url)
    return origin is not None and _AS_IT_STANDS.fullmatch(url) is not None and _is_origin(origin[0])


@lru_cache(maxsize=64)
def _is_origin(origin: str) -> bool:
    # Ten thousand links of a plan have one, and to split each of them takes a quarter of a second.
    found = split_url(origin)
    return found is not None and is_host(found.hostname)


def is_secure(url: str) -> bool:
    """Return whether what is sent there is encrypted."""
    return url[:6].lower() == "https:"


def stays_here(url: str) -> bool:
    """Return whether what is sent there does not leave this machine."""
    found = split_url(url)
    return found is not None and is_loopback(found.hostname or "")


def resolve_redirect(url: str, location: str) -> str | None:
    """Return where a `Location` leads from a URL, byte for byte; None where no request can be made of it."""
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
    """Return why a redirect of a part is not followed, or None if it may be: its body is somebody's film.

    Args:
        issued: The part's link, as the API gave it. However many redirects there are, it counts.
        url: The URL that redirects.
        target: Where to, as `resolve_redirect` returned it.
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
    """Return the port of a URL, or None for the usual one of its scheme: from http to https it is another one."""
    return None if url.port in (None, 443 if url.scheme == "https" else 80) else url.port

"""A part is sent only to safe URLs: its link, and the redirects that may be followed."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aioframeio_upload import Part, Plan, PlanError
from aioframeio_upload._core.links import is_secure, is_usable, resolve_redirect, stays_here, why_not_followed
from aioframeio_upload._core.model import check_secure, find_insecure

BUCKET = "https://frameio-uploads.s3-accelerate.amazonaws.com/parts/1?X-Amz-Signature=5ec2e7"

S3 = [
    "s3.amazonaws.com",
    "bucket.s3.amazonaws.com",
    "BUCKET.S3.AMAZONAWS.COM",
    "bucket.s3.amazonaws.com.",
    "a.bucket.with.dots.s3.amazonaws.com",
    "bucket.s3.us-west-2.amazonaws.com",
    "bucket.s3-us-west-2.amazonaws.com",
    "s3.us-gov-west-1.amazonaws.com",
    "bucket.s3.dualstack.eu-central-1.amazonaws.com",
    "bucket.s3-accelerate.amazonaws.com",
    "bucket.s3-accelerate.dualstack.amazonaws.com",
    "s3-external-1.amazonaws.com",
    "bucket.s3-fips.us-east-1.amazonaws.com",
    "bucket.s3-fips.dualstack.us-east-1.amazonaws.com",
    "point-123456789012.s3-accesspoint.ap-southeast-2.amazonaws.com",
]
STRANGERS = [
    "evil.example",
    "amazonaws.com",
    "bucket.s3.amazonaws.com.evil.example",
    "evil-s3.amazonaws.com",
    "evils3.amazonaws.com",
    "s3.evilamazonaws.com",
    "bucket.s3.amazonaws.com.cn",
    "ec2-203-0-113-7.compute-1.amazonaws.com",
    "s3.ec2-203-0-113-7.compute-1.amazonaws.com",
    "abc123.execute-api.us-east-1.amazonaws.com",
    "s3.execute-api.us-east-1.amazonaws.com",
    "s3-1234567890.us-east-1.elb.amazonaws.com",
    "s3.us-west-2.elasticbeanstalk.com",
    "s3-evil.amazonaws.com",
    "bucket.s3.us-west-2.wasabisys.com",
    "127.0.0.1",
    "[::1]",
    "169.254.169.254",
]


@pytest.mark.parametrize("host", S3)
def test_a_redirect_to_another_host_of_s3_is_followed(host: str) -> None:
    assert why_not_followed(BUCKET, BUCKET, f"https://{host}/parts/1?X-Amz-Signature=1") is None
    assert why_not_followed(f"https://{host}/p", f"https://{host}/p", BUCKET) is None


@pytest.mark.parametrize("host", STRANGERS)
def test_a_redirect_to_a_stranger_is_not_followed(host: str) -> None:
    shown = host.strip("[]")
    words = why_not_followed(BUCKET, BUCKET, f"https://{host}/parts/1?X-Amz-Signature=5ec2e7")
    assert words == f"to {shown}, which is neither S3 nor the host of the link"


@pytest.mark.parametrize(
    ("issued", "target", "is_followed"),
    [
        # the very host and port of the link, whoever runs it
        ("https://minio.example:9000/b/k", "https://minio.example:9000/b/k?again", True),
        ("https://minio.example:9000/b/k", "https://MINIO.example:9000/b/k", True),
        ("https://minio.example/b/k", "https://minio.example:443/b/k", True),
        ("http://minio.example/b/k", "https://minio.example/b/k", True),
        ("http://127.0.0.1:9000/b/k", "http://127.0.0.1:9000/x", True),
        ("https://minio.example:9000/b/k", "https://minio.example:9001/b/k", False),
        ("https://minio.example/b/k", "https://minio.example:9000/b/k", False),
        ("http://127.0.0.1:9000/b/k", "http://127.0.0.1:9001/b/k", False),
        ("http://127.0.0.1:9000/b/k", "http://localhost:9000/b/k", False),
        ("https://minio.example/b/k", "https://other.minio.example/b/k", False),
        # a store of another kind has no region's hosts that are known
        ("https://b.s3.wasabisys.com/k", "https://b.s3.eu-central-1.wasabisys.com/k", False),
        ("https://minio.example/b/k", "https://b.s3.us-west-2.amazonaws.com/k", False),
        # China's and Europe's own
        ("https://b.s3.cn-north-1.amazonaws.com.cn/k", "https://b.s3.cn-northwest-1.amazonaws.com.cn/k", True),
        ("https://b.s3.cn-north-1.amazonaws.com.cn/k", "https://b.s3.us-west-2.amazonaws.com/k", False),
        ("https://b.s3.eusc-de-east-1.amazonaws.eu/k", "https://s3.eusc-de-east-1.amazonaws.eu/b/k", True),
        # S3's usual port, or the link's
        ("http://b.s3.amazonaws.com:8000/k", "http://b.s3.us-west-2.amazonaws.com:8000/k", True),
        ("http://b.s3.amazonaws.com:8000/k", "https://b.s3.us-west-2.amazonaws.com/k", True),
        ("https://b.s3.amazonaws.com/k", "https://b.s3.us-west-2.amazonaws.com:8443/k", False),
        # a name or a password before the host
        ("https://b.s3.amazonaws.com/k", "https://me:pw@b.s3.amazonaws.com/k", False),
        ("https://b.s3.amazonaws.com/k", "https://b.s3.amazonaws.com@evil.example/k", False),
        # never from https to http
        ("https://b.s3.amazonaws.com/k", "http://b.s3.us-west-2.amazonaws.com/k", False),
        ("https://minio.example/b/k", "http://minio.example/b/k", False),
        ("http://b.s3.amazonaws.com/k", "http://b.s3.us-west-2.amazonaws.com/k", True),
    ],
)
def test_a_redirect_stays_with_s3_or_with_the_links_own_host(issued: str, target: str, is_followed: bool) -> None:
    assert (why_not_followed(issued, issued, target) is None) == is_followed


def test_in_a_chain_of_redirects_the_link_and_the_last_scheme_count() -> None:
    issued, second = "http://b.s3.amazonaws.com/k", "https://b.s3.us-west-2.amazonaws.com/k"
    assert why_not_followed(issued, issued, second) is None
    assert "https to http" in (why_not_followed(issued, second, "http://b.s3.amazonaws.com/k") or "")
    assert "evil.example" in (why_not_followed(issued, second, "https://evil.example/") or "")


@pytest.mark.parametrize(
    "location",
    [
        *("http://[::1", "http://h:99999/", "gopher://h/", "http://", "//", "\x01", "https://", "javascript:x", "x:y"),
        *("https://a..b/", f"https://{'a' * 64}.com/", "https://h\N{LATIN SMALL LETTER O WITH DIAERESIS}st/"),
        *("https://h/a b", "https://h/\n", "https://h\\@evil/", "https://1.2.3/", "https://\ud800/", "https://[v1.x"),
    ],
    ids=ascii,
)
def test_a_location_that_no_request_can_be_made_of_leads_nowhere(location: str) -> None:
    assert resolve_redirect("https://b.s3.amazonaws.com/k", location) is None


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("https://h/a%2fb%2F?c=%40'~+%20&X-Amz-Signature=0", "https://h/a%2fb%2F?c=%40'~+%20&X-Amz-Signature=0"),
        ("/a%2fb%2F/e~f?c=%40'~+%20&;,:", "https://b.example:99/a%2fb%2F/e~f?c=%40'~+%20&;,:"),
        ("//other/a", "https://other/a"),
    ],
)
def test_a_location_is_taken_byte_for_byte(location: str, target: str) -> None:
    assert resolve_redirect("https://b.example:99/k?q", location) == target


@given(st.text(max_size=40) | st.text("ahtps:/.@#?[]%\\\u2028 1", max_size=30).map("https://".__add__))
@example("https://xn--a/")
def test_any_location_is_followed_or_not_and_is_never_an_error(location: str) -> None:
    target = resolve_redirect(BUCKET, location)
    if target is not None:
        assert is_usable(target)
        words = why_not_followed(BUCKET, BUCKET, target)
        assert words is None or words.isprintable()


# -- in plain text -----------------------------------------------------------------------------------------------------


def plan_to(*urls: str) -> Plan:
    return Plan("f", "d", "n", len(urls), tuple(Part(n, n - 1, 1, url) for n, url in enumerate(urls, 1)))


@pytest.mark.parametrize(
    ("url", "secure", "here"),
    [
        ("https://h/", True, False),
        ("HTTPS://h/", True, False),
        ("http://h/", False, False),
        ("http://localhost:1/", False, True),
        ("http://127.8.9.1/", False, True),
        ("http://[::1]:9/", False, True),
        ("http://127.0.0.1.evil.example/", False, False),
        ("http://localhost.evil.example/", False, False),
        ("http://0.0.0.0/", False, False),
    ],
)
def test_a_link_shows_whether_its_part_is_sent_in_plain_text(url: str, secure: bool, here: bool) -> None:
    assert (is_secure(url), stays_here(url)) == (secure, here)


def test_a_plan_that_would_be_sent_in_plain_text_is_refused_and_its_part_named() -> None:
    safe, here, plain = "https://h/p?sig=5ec2e7", "http://127.0.0.1:1/p?sig=5ec2e7", "http://h/p?sig=5ec2e7"
    assert check_secure(plan_to(safe, safe), is_own=True).size == 2
    assert find_insecure(plan_to(safe, here, plain), is_own=True) == 2
    assert find_insecure(plan_to(safe, here, plain), is_own=False) == 3
    with pytest.raises(PlanError, match=r"^the link of part 3 is http although the API is https") as caught:
        check_secure(plan_to(safe, here, plain), is_own=False)
    assert "5ec2e7" not in str(caught.value)

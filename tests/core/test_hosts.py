"""Only hosts that can be resolved are accepted: others raise a bare UnicodeError deep in the resolver."""

from __future__ import annotations

import pytest

from aioframeio_upload import Part, Plan, PlanError
from aioframeio_upload._core.hosts import is_host

GOOD = [
    "api.frame.io",
    "localhost",
    "a.com.",
    "xn--zca.de",
    "my_bucket.s3.amazonaws.com",
    "127.0.0.1",
    "::1",
    "fe80::1%lo",
]
BAD = [
    *("", ".", "..", "a..b", ".a.com", "a" * 64 + ".com", ("a" * 60 + ".") * 5, "a b", "a\x7fb", "a\nb"),
    *("\ud800.com", "ß.de", "a\u2028b", "127.1", "256.1.1.1", "1.2.3.4.5", "0", None),
]


@pytest.mark.parametrize("host", GOOD)
def test_a_name_or_an_address_can_be_looked_up(host: str) -> None:
    assert is_host(host)


@pytest.mark.parametrize("host", BAD, ids=ascii)
def test_what_no_resolver_takes_is_no_host(host: str | None) -> None:
    assert not is_host(host)


@pytest.mark.parametrize("host", ["a..b", "a" * 64 + ".com", "256.1.1.1"])
def test_a_plan_with_such_a_link_cannot_be_built(host: str) -> None:
    with pytest.raises(PlanError, match="part 1 has no usable"):
        Plan("f", None, "a", 1, (Part(1, 0, 1, f"https://{host}/p?X-Amz-Signature=5ec2e7"),))

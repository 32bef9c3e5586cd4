"""A refusal that arrives while the part is being sent, from a server that closes at once: it is reported in the end."""

from __future__ import annotations

import ssl
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trustme

from aioframeio_upload import Limits, PartExhausted, PartRejected, Plan, RetryPolicy, Uploader
from aioframeio_upload._io import s3_put as part_module
from tests.conftest import some_bytes
from tests.support.abrupt import refusing

MIB = 1 << 20
RUNS = 30
AT_ONCE = RetryPolicy(base=0, cap=0)


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def refusal(request: pytest.FixtureRequest) -> Iterator[tuple[str, ssl.SSLContext | None]]:
    """Yield the URL of a server that refuses, and the TLS context to reach it with."""
    with serving(tls=request.param) as reached:
        yield reached


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def lossy(request: pytest.FixtureRequest) -> Iterator[tuple[str, ssl.SSLContext | None]]:
    """Yield the same for a server whose refusal is always lost with the connection, unless the client asked first."""
    with serving(tls=request.param, loses=True) as reached:
        yield reached


@contextmanager
def serving(*, tls: bool, loses: bool = False) -> Iterator[tuple[str, ssl.SSLContext | None]]:
    if not tls:
        with refusing(None, loses=loses) as port:
            yield f"http://127.0.0.1:{port}", None
        return
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    with refusing(server, loses=loses) as port:
        yield f"https://127.0.0.1:{port}", client


def plan_at(url: str, size: int) -> Plan:
    links = [{"size": size, "url": f"{url}/part_1?X-Amz-Signature=0"}]
    told = {"id": "f", "name": "a", "parent_id": "d", "file_size": size, "upload_urls": links}
    return Plan.from_response(told, account_id="a")


async def attempts_until_told(refusal: tuple[str, ssl.SSLContext | None], size: int) -> Counter[int | str]:
    """Return the number of attempts in each of some runs; "lost" if the refusal was never reported."""
    url, context = refusal
    found: Counter[int | str] = Counter()
    content = some_bytes(size)
    for _ in range(RUNS):
        async with Uploader("t", retry=AT_ONCE, ssl=context, limits=Limits(parts=1)) as uploader:
            with pytest.raises((PartRejected, PartExhausted)) as caught:
                await uploader.send_parts(plan_at(url, size), content, [1])
        if isinstance(caught.value, PartRejected):
            assert (caught.value.status, caught.value.code) == (403, "SignatureDoesNotMatch")
            found[caught.value.attempts] += 1
        else:
            assert "broke" in str(caught.value)
            found["lost"] += 1
    return found


async def test_a_first_part_of_more_than_a_mebibyte_is_refused_at_its_first_attempt(
    refusal: tuple[str, ssl.SSLContext | None],
) -> None:
    assert await attempts_until_told(refusal, 5 * MIB) == {1: RUNS}


async def test_a_small_part_asks_after_the_first_reset_and_then_learns_the_refusal(
    refusal: tuple[str, ssl.SSLContext | None],
) -> None:
    """Before it asked, 6 of 30 were given up after eight broken connections without having learned the reason."""
    found = await attempts_until_told(refusal, MIB)
    print(f"a refusal of 1 MiB was told after so many attempts: {dict(found)}")
    assert set(found) <= {1, 2}


@pytest.mark.parametrize("size", [1000, MIB])
async def test_a_lost_refusal_is_asked_for_and_reported_at_the_second_attempt(
    lossy: tuple[str, ssl.SSLContext | None], size: int
) -> None:
    assert await attempts_until_told(lossy, size) == {2: RUNS}


async def test_a_refusal_of_a_large_part_is_not_lost_because_it_is_asked_for_first(
    lossy: tuple[str, ssl.SSLContext | None],
) -> None:
    assert await attempts_until_told(lossy, 5 * MIB) == {1: RUNS}


@pytest.mark.slow
@pytest.mark.parametrize("size", [MIB // 2, 5 * MIB])
async def test_a_refusal_that_was_not_asked_for_is_reported_by_the_second_attempt(
    refusal: tuple[str, ssl.SSLContext | None], size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel decides how often the first refusal is lost: for 5 MiB often in most cases, on a busy day never."""
    monkeypatch.setattr(part_module, "EXPECT_FROM", 1 << 40)
    found = await attempts_until_told(refusal, size)
    print(f"a refusal of {size} bytes that was not asked for was told after so many attempts: {dict(found)}")
    assert set(found) <= {1, 2}

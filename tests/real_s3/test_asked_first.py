"""A refused signature, from a real S3 server: read before the part is sent, also after a silent link."""

from __future__ import annotations

from random import Random

import pytest

from aioframeio_upload import PartRejected, Uploader
from aioframeio_upload._io import s3_put as part_module
from tests.support.wire import Mishap, Wire

from .presign import S3Server
from .test_cut_wire import BYTES, SIZES, settings
from .test_library import send_all


async def refusal_of_five_mebibytes(server: S3Server, wire: Wire, uploader: Uploader) -> PartRejected:
    """Send a part whose link has another signature."""
    content = Random(9).randbytes(5 << 20)
    response = server.create_response(len(content), [len(content)], at=wire.url)
    link = response["upload_urls"][0]
    link["url"] = link["url"][:-1] + ("0" if link["url"][-1] != "0" else "1")
    with pytest.raises(PartRejected) as caught:
        await send_all(uploader, response, content)
    assert (caught.value.status, caught.value.code) == (403, "SignatureDoesNotMatch")
    return caught.value


async def test_a_refusal_of_a_large_part_is_reported_with_the_code_of_the_server(
    s3_server: S3Server, wire: Wire
) -> None:
    """rclone answers at once and lingers for half a second; `test_early_answers` has a server that does not."""
    async with Uploader("t", **settings()) as uploader:
        assert (await refusal_of_five_mebibytes(s3_server, wire, uploader)).attempts == 1
    assert wire.ways["up"].passed < 4000  # it was asked for, not sent


async def test_a_silent_link_does_not_mean_that_the_server_ignores_expect(s3_server: S3Server, wire: Wire) -> None:
    """The question stays unanswered, and so does the PUT without `Expect`: the next upload asks again."""
    silent = Mishap(do="black_hole", way="accept", times=2)
    wire.mishaps = [silent]
    response = s3_server.create_response(len(BYTES), SIZES, at=wire.url)
    async with Uploader("t", **settings("black_hole")) as uploader:
        await send_all(uploader, response, BYTES)
        assert (wire.hits(silent), uploader.statistics().retries) == (2, 1)
        before = wire.ways["up"].passed
        await refusal_of_five_mebibytes(s3_server, wire, uploader)
    assert wire.ways["up"].passed - before < 4000


@pytest.mark.slow
async def test_a_server_that_lingers_reports_a_refusal_that_was_not_asked_for(
    s3_server: S3Server, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part_module, "EXPECT_FROM", 1 << 40)
    async with Uploader("t", **settings()) as uploader:
        attempts = [(await refusal_of_five_mebibytes(s3_server, wire, uploader)).attempts for _ in range(30)]
    print(f"rclone's refusal, without the question: lost {sum(attempts) - 30} times in {sum(attempts)} attempts")
    assert set(attempts) <= {1, 2}

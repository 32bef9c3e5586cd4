"""An outage is logged once for each host, however many attempts find no connection."""

from __future__ import annotations

import pytest

from aioframeio_upload._core.failures import FailureKind
from aioframeio_upload._io.outages import CALM, Outages
from tests.support.seen import told

API, S3 = "api.frame.io", "s3.example:8443"
AWAY = FailureKind.UNREACHABLE


def test_the_first_failed_connection_of_an_outage_is_logged_for_each_host(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    outages = Outages(600, lambda: now)
    for now in (1.0, 2.0, 2 + 2 * CALM):  # noqa: B007  # the clock reads it
        outages.note(API, AWAY, f"no connection to {API} (ECONNREFUSED)")
        outages.note(S3, AWAY, "the proxy refused (503)")
    assert told(caplog) == [
        f"no connection to {API} (ECONNREFUSED); waiting for it, for up to 600 s",
        f"{S3}: the proxy refused (503); waiting for it, for up to 600 s",
    ]


@pytest.mark.parametrize("answered", [None, FailureKind.REFUSED, FailureKind.LOST])
def test_after_an_answer_another_outage_is_news_but_not_within_a_minute(
    answered: FailureKind | None, caplog: pytest.LogCaptureFixture
) -> None:
    now = 0.0
    outages = Outages(600, lambda: now)
    for now, lines in ((0.0, 1), (CALM - 1, 1), (2 * CALM - 2, 1), (3 * CALM, 2)):  # noqa: B007  # the clock reads it
        outages.note(API, AWAY, "no connection")
        outages.note(API, answered)
        assert len(told(caplog)) == lines


def test_without_patience_the_error_comes_soon_and_nothing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    Outages(0).note(API, AWAY, "no connection")
    assert told(caplog) == []

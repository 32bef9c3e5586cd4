"""The settings have the documented defaults, and refuse values that cannot work."""

from __future__ import annotations

from math import inf, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioframeio_upload import Limits, RetryPolicy, Timeouts


def test_the_defaults_are_those_of_the_contract() -> None:
    """The documented defaults; the code has the reason for each."""
    assert Limits() == Limits(parts="auto", max_parts=64, files=16, api_pacing=True)
    assert Timeouts() == Timeouts(connect=30, api=60, stall=30, confirm=None)
    assert RetryPolicy() == RetryPolicy(attempts=8, base=0.5, cap=30)


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        (Limits, {"parts": 0}, 'Limits.parts must be at least 1, or "auto"'),
        (Limits, {"files": 0}, "Limits.files must be at least 1"),
        (Limits, {"files": -1}, "Limits.files must be at least 1"),
        (Timeouts, {"connect": 0}, "Timeouts.connect must be more than 0, and finite"),
        (Timeouts, {"api": -1}, "Timeouts.api must be more than 0, and finite"),
        (Timeouts, {"api": nan}, "Timeouts.api must be more than 0, and finite"),
        (Timeouts, {"stall": 0.0}, "Timeouts.stall must be more than 0, and finite"),
        (Timeouts, {"stall": inf}, "Timeouts.stall must be more than 0, and finite"),
        (Timeouts, {"confirm": -0.1}, "Timeouts.confirm must be 0 or more, and finite"),
        (Timeouts, {"confirm": nan}, "Timeouts.confirm must be 0 or more, and finite"),
        (RetryPolicy, {"attempts": 0}, "RetryPolicy.attempts must be at least 1"),
        (RetryPolicy, {"base": -1}, "RetryPolicy needs 0 <= base <= cap, both finite"),
        (RetryPolicy, {"base": 31}, "RetryPolicy needs 0 <= base <= cap, both finite"),
        (RetryPolicy, {"base": nan}, "RetryPolicy needs 0 <= base <= cap, both finite"),
        (RetryPolicy, {"base": inf, "cap": inf}, "RetryPolicy needs 0 <= base <= cap, both finite"),
    ],
)
def test_a_value_that_could_not_work_is_refused_with_its_name(
    kind: type[Any], fields: dict[str, float], message: str
) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the message is compared below, whole
        kind(**fields)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        (Limits, {"parts": "8"}, "Limits.parts must be a whole number or \"auto\", not '8'"),
        (Limits, {"parts": True}, 'Limits.parts must be a whole number or "auto", not True'),
        (Limits, {"max_parts": 8.0}, "Limits.max_parts must be a whole number, not 8.0"),
        (Limits, {"files": "2"}, "Limits.files must be a whole number, not '2'"),
        (Limits, {"files": 2.5}, "Limits.files must be a whole number, not 2.5"),
        (Limits, {"congestion": None}, "Limits.congestion must be a text, not None"),
        (Limits, {"bandwidth": "5M"}, "Limits.bandwidth must be a whole number or None, not '5M'"),
        (Limits, {"api_pacing": "false"}, "Limits.api_pacing must be True or False, not 'false'"),
        (Timeouts, {"stall": "30"}, "Timeouts.stall must be a number, not '30'"),
        (Timeouts, {"confirm": False}, "Timeouts.confirm must be a number or None, not False"),
        (RetryPolicy, {"attempts": None}, "RetryPolicy.attempts must be a whole number, not None"),
        (RetryPolicy, {"patience": "1 h"}, "RetryPolicy.patience must be a number, not '1 h'"),
    ],
)
def test_a_value_of_another_type_is_refused_with_its_name(
    kind: type[Any], fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(TypeError) as caught:
        kind(**fields)
    assert str(caught.value) == message


def test_the_least_values_are_accepted() -> None:
    Limits(parts=1, files=1)
    Timeouts(connect=0.001, api=0.001, stall=0.001, confirm=0)
    RetryPolicy(attempts=1, base=0, cap=0)


def test_the_time_for_confirmation_grows_by_a_minute_for_each_100_gb() -> None:
    assert Timeouts().confirm_for(0) == 300
    assert Timeouts().confirm_for(100_000_000_000) == 360
    assert Timeouts().confirm_for(1_000_000_000_000) == 900


@given(st.floats(0, 1e6), st.integers(0, 10**13))
def test_a_time_for_confirmation_that_is_given_holds_for_every_size(confirm: float, size: int) -> None:
    assert Timeouts(confirm=confirm).confirm_for(size) == confirm

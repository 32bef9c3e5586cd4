"""Test how a cancellation reaches an upload's job: its reason and the time for the clean-up."""

from __future__ import annotations

import time

import pytest

from aioframeio_upload._engine.control import CancelReason, UploadControl


def test_a_clean_up_has_one_deadline_for_all_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second cancellation gives no more time, and no step is given a negative one."""
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    control = UploadControl()
    assert control.seconds_left(0.4) == 0.4
    control.cancel(CancelReason.TASK_CANCELLED)
    assert control.seconds_left(0.4) == 0.4
    now += 0.5
    control.cancel(CancelReason.CANCEL_CALLED)
    assert control.seconds_left(0.4) == pytest.approx(0.3)
    now += 0.5
    assert control.seconds_left(0.4) == 0.0


@pytest.mark.parametrize("reasons", [list(CancelReason), list(reversed(CancelReason))])
def test_an_explicit_cancel_is_the_reason_whenever_it_comes(reasons: list[CancelReason]) -> None:
    """What the user asked to delete is not kept because a task was cancelled too."""
    control = UploadControl()
    assert not control.is_discarded
    for reason in reasons:
        control.cancel(reason)
    assert control.cancel_reason is CancelReason.CANCEL_CALLED
    assert control.is_discarded


def test_a_file_of_a_folder_shares_its_pause_and_its_cancellation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 100.0)
    folder = UploadControl()
    file = UploadControl(folder)
    folder.pause.close()
    assert not file.pause.is_open
    file.cancel(CancelReason.TASK_CANCELLED)
    folder.cancel(CancelReason.CANCEL_CALLED)
    assert file.is_discarded
    assert file.seconds_left(0.4) == 0.4


def test_a_cancellation_of_one_file_is_not_the_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    folder = UploadControl()
    one, other = UploadControl(folder), UploadControl(folder)
    one.cancel(CancelReason.TASK_CANCELLED)
    now += 5
    assert (one.seconds_left(10), other.seconds_left(10), folder.seconds_left(10)) == (0, 10, 10)
    assert (other.cancel_reason, folder.cancel_reason) == (None, None)


def test_a_file_has_no_more_time_than_its_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    folder = UploadControl()
    file = UploadControl(folder)
    folder.cancel(CancelReason.TASK_CANCELLED)
    now += 0.5
    file.cancel(CancelReason.TASK_CANCELLED)
    assert file.seconds_left(10) == pytest.approx(0.3)

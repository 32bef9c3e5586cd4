"""When a watched file is ready, what counts as a change, and when the next look is due."""

from __future__ import annotations

from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from aioframeio_upload._core.file_queue import LocalFile
from aioframeio_upload._core.watching import (
    FIRST_RETRY,
    LAST_RETRY,
    NETWORK_SYSTEMS,
    SAFETY_NET,
    Readiness,
    Stamp,
    WaitingFiles,
    change_pause,
    check_settle,
    is_network_system,
    is_temporary,
    local_file,
    retry_pause,
    scan_pause,
)

SETTLE = 10.0
PATHS = st.sampled_from(["a", "b", "sub/a", "sub/b", "subway"])
STAMPS = st.builds(Stamp, st.integers(0, 2), st.integers(0, 1))


class Watch(RuleBasedStateMachine):
    """A folder that changes at random, and what the watch makes of it; the machine knows the truth."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.waiting = WaitingFiles(SETTLE)
        self.disk: dict[str, Stamp] = {}
        self.noted: dict[str, tuple[Stamp, float]] = {}
        """What was noted last of each file that is not sent as it is, and since when that is so."""
        self.begun: dict[str, Stamp] = {}
        self.failures: dict[str, int] = {}
        self.sent: dict[str, Stamp] = {}

    @rule(seconds=st.sampled_from([0.5, 4.0, 10.0, 40.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(path=PATHS, stamp=STAMPS)
    def write(self, path: str, stamp: Stamp) -> None:
        self.disk[path] = stamp

    @rule(path=PATHS)
    def delete(self, path: str) -> None:
        self.disk.pop(path, None)

    @rule()
    def scan(self) -> None:
        for path, stamp in self.disk.items():
            if self.sent.get(path) != stamp or path in self.begun:
                self.waiting.note(path, stamp, self.now)
                if self.noted.get(path, (None, 0.0))[0] != stamp:
                    self.noted[path] = stamp, self.now
                    self.failures.pop(path, None)

    @rule()
    def take(self) -> None:
        path = self.waiting.take(self.now)
        if path is None:
            return
        stamp, since = self.noted[path]
        failures = self.failures.get(path, 0)
        assert path not in self.begun, "a file has one turn at a time"
        assert self.now >= since + (SETTLE if not failures else 0), "it had time to settle"
        found = self.disk.get(path)
        verdict = self.waiting.judge(path, found, self.now)
        if found is None:
            assert verdict is Readiness.GONE
            del self.noted[path]
        elif found != stamp:
            assert verdict is Readiness.CHANGED
            self.noted[path] = found, self.now
            self.failures.pop(path, None)
        else:
            assert verdict is Readiness.READY
            self.begun[path] = found

    @precondition(lambda self: self.begun)
    @rule(chance=st.randoms(), failed=st.booleans())
    def end(self, chance: object, failed: bool) -> None:
        path = sorted(self.begun)[0]
        stamp = self.begun.pop(path)
        self.waiting.end(path, self.now, failed=failed)
        if not failed:
            self.sent[path] = stamp
        if self.noted[path][0] == stamp:
            if failed:
                self.failures[path] = self.failures.get(path, 0) + 1
                assert (self.waiting.due_at() or inf) <= self.now + retry_pause(self.failures[path])
            else:
                del self.noted[path]

    @invariant()
    def nothing_is_lost_and_nothing_is_there_twice(self) -> None:
        waiting = {path for path in self.noted if self.begun.get(path) != self.noted[path][0]}
        ahead = {path for path in waiting if path in self.begun}  # changed while it is being sent
        assert len(self.waiting) == len(waiting - ahead)
        assert self.waiting.size == sum(self.noted[path][0].size for path in waiting - ahead)
        assert (self.waiting.due_at() is None) == (not waiting - ahead)


TestWatch = Watch.TestCase


@given(st.lists(st.tuples(st.floats(0.1, 30), st.integers(0, 3)), min_size=1, max_size=30))
def test_a_file_is_ready_only_after_it_has_stayed_the_same_for_long_enough(writes: list[tuple[float, int]]) -> None:
    """However it is written, and whenever it is looked at."""
    waiting, now, since, last = WaitingFiles(SETTLE), 0.0, 0.0, -1
    for pause, size in writes:
        if size != last:
            since, last = now, size
        waiting.note("a", Stamp(size, 0), now)
        assert waiting.due_at() == since + SETTLE
        now += pause
        if now < since + SETTLE:
            assert waiting.take(now) is None
    assert waiting.take(since + SETTLE) == "a"
    assert waiting.judge("a", Stamp(last, 0), since + SETTLE) is Readiness.READY


def test_a_change_without_a_look_makes_it_settle_anew() -> None:
    waiting = WaitingFiles(SETTLE)
    waiting.note("a", Stamp(1, 1), 0.0)
    waiting.note("a", None, 5.0)
    assert (waiting.take(12.0), waiting.take(15.0)) == (None, "a")
    assert waiting.judge("a", Stamp(1, 1), 15.0) is Readiness.CHANGED
    assert waiting.take(25.0) == "a"
    assert waiting.judge("a", Stamp(1, 1), 25.0) is Readiness.READY


def test_files_have_their_turn_in_the_order_in_which_they_settled() -> None:
    waiting = WaitingFiles(SETTLE)
    for number in range(20):
        waiting.note(f"{number:02}", Stamp(1, 1), float(number))
    waiting.note("00", Stamp(2, 1), 30.0)
    order = [waiting.take(100.0) for _ in range(20)]
    assert order == [*(f"{number:02}" for number in range(1, 20)), "00"]
    assert waiting.take(100.0) is None


def test_a_folder_that_is_gone_takes_what_waits_in_it_along() -> None:
    waiting = WaitingFiles(SETTLE)
    for path in ("sub/a", "sub/deep/b", "subway", "sub.mov"):
        waiting.note(path, Stamp(5, 1), 0.0)
    for _ in waiting.drop(["sub", "sub.mov", "never seen"]):
        pass
    assert (len(waiting), waiting.size) == (1, 5)
    waiting.clear()
    assert (len(waiting), waiting.size, waiting.due_at()) == (0, 0, None)


def test_a_hundred_thousand_files_have_their_turns_in_a_moment() -> None:
    """Not in quadratic time: that would be minutes, and exceed the test's limit."""
    waiting = WaitingFiles(SETTLE)
    for number in range(100_000):
        waiting.note(f"folder/{number}", Stamp(1, number), 0.0)
    for _ in range(100_000):
        path = waiting.take(SETTLE)
        assert path is not None
        stamp = Stamp(1, int(path.rpartition("/")[2]))
        assert waiting.judge(path, stamp, SETTLE) is Readiness.READY
        waiting.end(path, SETTLE, failed=False)
    assert waiting.due_at() is None


def test_deletions_are_looked_for_once_and_in_steps_and_those_that_concern_no_file_not_at_all() -> None:
    waiting = WaitingFiles(SETTLE)
    for number in range(2000):
        waiting.note(f"{number % 20}/deep/{number}", Stamp(1, number), 0.0)
    # A renderer renames each frame: the name that it had is gone, and nothing with it waits.
    assert list(waiting.drop(f"1/deep/{number}.tmp1" for number in range(500))) == []
    steps = list(waiting.drop([*map(str, range(5, 20)), "3/deep", "4/deep/4"]))
    assert len(steps) == 4
    assert len(waiting) == 2000 - 16 * 100 - 1
    assert list(waiting.drop(["19"])) == [], "nothing is below it any more"
    while waiting.take(SETTLE) is not None:
        pass
    assert list(waiting.drop(["0"])) == []


def test_a_file_that_changes_whenever_it_is_sent_is_sent_more_and_more_rarely() -> None:
    """With `settle=0` each attempt would follow the last at once, and each creates a file at Frame.io."""
    waiting, now, pauses = WaitingFiles(0.0), 100.0, list[float]()
    waiting.note("a", Stamp(0, 0), now)
    for round in range(1, 11):
        began = now
        now = waiting.due_at() or inf
        assert waiting.take(now) == "a"
        pauses.append(now - began)
        if waiting.judge("a", Stamp(round, 0), now) is Readiness.CHANGED:
            assert waiting.take(now) == "a"
            assert waiting.judge("a", Stamp(round, 0), now) is Readiness.READY
        waiting.end("a", now, failed=True, changed=True)
        waiting.note("a", Stamp(round, 1), now + 0.5)
        assert waiting.due_at() == now + change_pause(0.0, round)
    assert pauses[1:] == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0, 60.0]
    assert change_pause(90.0, 1) == 90.0


def test_a_file_that_arrived_after_it_had_changed_begins_anew_without_a_pause() -> None:
    waiting = WaitingFiles(0.0)
    for now, failed in ((100.0, True), (200.0, False)):
        waiting.note("a", Stamp(1, failed), now)
        assert waiting.take(now + 50) == "a"
        assert waiting.judge("a", Stamp(1, failed), now + 50) is Readiness.READY
        waiting.end("a", now + 50, failed=failed, changed=failed)
    waiting.note("a", Stamp(2, 2), 300.0)
    assert waiting.due_at() == 300.0


@given(st.integers(1, 10**6))
def test_the_pause_after_a_failure_grows_to_half_an_hour(failures: int) -> None:
    assert FIRST_RETRY <= retry_pause(failures) <= retry_pause(failures + 1) <= LAST_RETRY == 1800
    assert retry_pause(1) == 30
    assert retry_pause(2) == 60


@given(st.floats(0, 10**6), st.floats(0, 3600))
def test_a_folder_is_read_for_a_tenth_of_the_time_and_every_five_minutes(settle: float, duration: float) -> None:
    """A share that did not answer for an hour is read again soon after it does."""
    polled, notified = (scan_pause(settle, duration, notified=known) for known in (False, True))
    assert 0.5 <= polled <= 300
    assert polled == max(0.5, min(settle, 5), min(300, 10 * duration))
    assert notified == max(SAFETY_NET, min(300, 30 * duration))


@pytest.mark.parametrize("settle", [-0.1, nan, inf, -inf])
def test_a_time_to_settle_is_a_number_of_seconds(settle: float) -> None:
    with pytest.raises(ValueError, match="settle"):
        check_settle(settle)
    assert check_settle(3) == 3.0


@pytest.mark.parametrize(
    "name",
    [
        *("a.mov.part", "a.mov.tmp", "A.TMP", "a.mov.crdownload", "a.mov.download", "a.exr.temp", "a.mov.filepart"),
        *("a.mov.k3j2.partial", "a.mov.aspx", "a.mov.aria2", "~$notes.docx", "a.pdf.sb-0f1e2d3c-aB3xYz"),
        "(A Document Being Saved By TextEdit)",
    ],
)
def test_names_of_unfinished_files_are_recognized(name: str) -> None:
    assert is_temporary(name)


@pytest.mark.parametrize(
    "name", ["a.mov", "part.mov", "tmp", "a.tmp.mov", "partial", "download.mov", "temp.exr", "~a.mov", "a.sb-1.mov"]
)
def test_names_of_finished_files_are_left_alone(name: str) -> None:
    assert not is_temporary(name)


MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:40 / /mnt/nas rw - nfs4 nas:/export rw
31 30 8:17 / /mnt/nas/local rw - xfs /dev/sdb1 rw
32 22 0:41 / /mnt/my\\040share rw shared:9 master:2 - cifs //nas/x rw
33 22 0:42 / /mnt/cloud rw - fuse.rclone remote: rw
34 22 8:33 / /mnt/stick rw - fuseblk /dev/sdc1 rw
35 22 0:43 / /mnt/twice rw - nfs nas:/a rw
36 35 8:49 / /mnt/twice rw - ext4 /dev/sdd1 rw
broken line
"""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        *(("/", False), ("/home/x", False), ("/mnt/nas", True), ("/mnt/nas/a/b", True), ("/mnt/nas/local/a", False)),
        *(("/mnt/nasty", False), ("/mnt/my share/in", True), ("/mnt/cloud", True), ("/mnt/stick/DCIM", False)),
        ("/mnt/twice/a", False),
    ],
)
def test_shares_are_told_from_local_disks(path: str, expected: bool) -> None:
    assert is_network_system(MOUNTS, path) is expected
    assert not is_network_system("", path)


def test_the_kinds_of_shares_are_names() -> None:
    assert all(kind == kind.lower() and kind for kind in NETWORK_SYSTEMS)


def test_a_file_goes_to_the_pipeline_as_it_was_seen() -> None:
    assert local_file("a/b", Stamp(1, 2), 3) == LocalFile("a/b", 1, 2, 3)

"""A folder's arithmetic and order: nothing twice, nothing lost, no progress that runs backwards."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from aioframeio_upload import FolderCreated, SourceError, UploadedFile
from aioframeio_upload._core.file_queue import BIG, FileQueue, LocalFile, folder_of
from aioframeio_upload._core.folder_state import FolderState, UnderWay

IDLE = UnderWay(0, 0, 0, 0, 0)
SIZES = st.lists(st.integers(0, 3 * BIG), max_size=40)


def files_of(sizes: list[int]) -> list[LocalFile]:
    return [LocalFile(f"a/{number}", size, 0) for number, size in enumerate(sizes)]


@given(SIZES, st.integers(1, 20), st.randoms())
def test_every_file_has_its_turn_once(sizes: list[int], places: int, chance: Random) -> None:
    files = files_of(sizes)
    order, taken = FileQueue(files), []
    while order:
        taken.append(order.take(chance.randrange(places + 1), places))
    assert sorted(taken) == sorted(files)


@given(SIZES, st.integers(1, 20))
def test_big_files_begin_at_once_the_biggest_first_and_leave_half_the_places(sizes: list[int], places: int) -> None:
    files = files_of(sizes)
    order, big_under_way, big = FileQueue(files), 0, []
    small = [file for file in files if file.size < BIG]
    while order:
        file = order.take(big_under_way, places)
        if file.size < BIG:
            assert file == small.pop(0), "folder by folder, as they were walked"
            continue
        big.append(file.size)
        if small:
            big_under_way += 1
            assert big_under_way <= max(1, places // 2)
    assert big == sorted(big, reverse=True)
    assert not small


def test_a_file_knows_its_folder_and_name() -> None:
    file = LocalFile("a/b/c.mov", 1, 2)
    assert (folder_of(file), file.name) == ("a/b", "c.mov")
    assert folder_of(LocalFile("c.mov", 1, 2)) == ""


def uploaded(size: int) -> UploadedFile:
    return UploadedFile("f", "n", size, "a", "d", None, None, "uploaded")


@given(st.lists(st.tuples(st.integers(0, 10**9), st.sampled_from(["send", "skip", "fail"])), max_size=30))
def test_progress_never_runs_backwards_nor_past_the_end(fates: list[tuple[int, str]]) -> None:
    total = sum(size for size, _ in fates)
    state, before, now = FolderState(len(fates), total, 0.0), 0, 0.0
    for size, fate in fates:
        now += 1.0
        if fate == "skip":
            state.skip("p", size, "there")
        else:
            half = state.progress(UnderWay(1, size, size // 2, size // 3, 0), now)
            assert half.bytes_uploaded >= before
            before = half.bytes_uploaded
        if fate == "send":
            state.send(size)
            state.complete("p", uploaded(size))
        if fate == "fail":
            state.fail("p", SourceError("no"))
        told = state.progress(IDLE, now)
        assert before <= told.bytes_uploaded <= total
        assert told.bytes_confirmed <= told.bytes_uploaded
        assert told.bytes_per_second >= 0
        before = told.bytes_uploaded
    result = state.result()
    assert len(result.files) + len(result.skipped) + len(result.failures) == len(fates)
    end = state.progress(IDLE, now + 1)
    assert (end.parts_completed, end.total_parts) == (len(result.files) + len(result.skipped), len(fates))
    if not result.failures:
        assert (end.bytes_uploaded, end.bytes_confirmed, end.seconds_left) == (total, total, 0.0)


def test_what_was_there_before_is_not_in_the_rate() -> None:
    state = FolderState(2, 10**12 + 100, 0.0)
    state.skip("a", 10**12, "there")
    state.send(100)
    told = state.progress(IDLE, 1.0)
    assert told.bytes_uploaded == 10**12 + 100
    assert told.bytes_per_second == 100


def test_what_an_earlier_run_sent_is_told_apart_from_what_moves() -> None:
    state = FolderState(3, 1000, 0.0)
    state.skip("a", 500, "there")
    told = state.progress(UnderWay(1, 1000, 250, 200, 200), 1.0)
    assert (told.bytes_uploaded, told.bytes_before, told.bytes_per_second) == (750, 700, 50)
    state.send(300, before=200)
    told = state.progress(IDLE, 2.0)
    assert (told.bytes_uploaded, told.bytes_before, told.bytes_per_second) == (800, 700, 50)


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6), st.booleans()), max_size=20))
def test_what_moved_never_runs_backwards_either(files: list[tuple[int, int, bool]]) -> None:
    total = sum(before + fresh for before, fresh, _ in files)
    state, moved = FolderState(len(files), total, 0.0), 0
    for number, (before, fresh, fails) in enumerate(files):
        for share in (0, fresh // 2, fresh):
            told = state.progress(UnderWay(1, before + fresh, before + share, 0, before), float(number))
            assert 0 <= told.bytes_before <= told.bytes_uploaded <= total
            assert told.bytes_uploaded - told.bytes_before >= moved
            moved = told.bytes_uploaded - told.bytes_before
        if not fails:
            state.send(before + fresh, before)
    if not any(fails for _, _, fails in files):
        assert moved == sum(fresh for _, fresh, _ in files)


def test_a_failure_keeps_no_frame_alive() -> None:
    state = FolderState(1, 1, 0.0)
    try:
        try:
            raise OSError("no")
        except OSError as cause:
            raise SourceError("no") from cause
    except SourceError as error:
        failed = state.fail("p", error)
    assert failed.error.__traceback__ is None
    assert failed.error.__cause__ is not None
    assert failed.error.__cause__.__traceback__ is None


def test_the_failures_are_told_in_the_order_of_their_paths() -> None:
    state = FolderState(2, 0, 0.0)
    error = SourceError("no")
    state.fail("b", error)
    state.fail("a", error)
    state.create(FolderCreated(".", "f"))
    assert [failure.path for failure in state.result().failures] == ["a", "b"]
    assert state.result().folders == (FolderCreated(".", "f"),)

"""The soak's first rounds, from a fixed seed: `python3 run.py soak` continues for an hour."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.soak import FILES, Held, Soak, growth

ROUNDS = 6
SOME = Held(tasks=1, descriptors=8, threads=9, ours=60, objects=50_000, resident=80 << 20)


@pytest.mark.slow
async def test_a_few_rounds_of_faults_and_hostile_answers_leave_no_task_no_descriptor_and_no_object_of_ours(
    tmp_path: Path,
) -> None:
    soak = Soak(1, tmp_path)
    await soak.run(most=ROUNDS)
    ends = [outcome for outcome in soak.outcomes.elements() if not outcome.startswith(("folder: ", "of a folder: "))]
    assert len(ends) == ROUNDS * FILES
    assert sum(soak.outcomes[outcome] for outcome in soak.outcomes if outcome.startswith("folder: ")) == ROUNDS
    assert soak.outcomes["uploaded"] >= ROUNDS
    assert {(held.tasks, held.descriptors) for held in soak.held} == {(soak.idle.tasks, soak.idle.descriptors)}
    assert len({held.ours for held in soak.held}) == 1


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, []),
        ({"tasks": 2}, ["tasks: 2 after a round, 1 before the first"]),
        ({"descriptors": 9}, ["descriptors: 9 after a round, 8 before the first"]),
        ({"ours": 61}, ["ours: 60 at first, 61 at last"]),
        ({"objects": 52_000}, ["objects: 50,000 at first, 52,000 at last"]),
        ({"resident": 100 << 20}, ["resident: 83,886,080 at first, 104,857,600 at last"]),
    ],
)
def test_growth_is_reported(change: dict[str, int], told: list[str]) -> None:
    assert growth(SOME, [SOME] * 40 + [replace(SOME, **change)] * 10) == told

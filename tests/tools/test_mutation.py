"""Damaged files of every kind end in one clear sentence, and never in a pass of what computes something else."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.tiers import thorough
from tools.mutation.campaign import run
from tools.mutation.kinds import KINDS
from tools.mutation.mutators import mutate

COUNT = 200


DEAR = ("pte", "mlpackage")


@pytest.mark.parametrize("kind", [thorough(kind) if kind in DEAR else kind for kind in KINDS])
def test_damaged_files_are_told_in_one_clear_sentence(exported: Path, kind: str) -> None:
    tally = run(kind, count=COUNT, seed=0, exported=exported, checked=2)
    assert tally.faults == []
    assert sum(tally.outcomes.values()) == COUNT
    assert tally.outcomes["refused"] > COUNT // 10
    assert tally.outcomes["used"] > COUNT // 20, "too few stay well formed to show what is wrongly accepted"


@pytest.mark.parametrize("text", [False, True])
def test_the_same_seed_damages_alike_and_another_does_not(text: bool) -> None:
    content = b'{"a": [1, 2.5, "b"]}' * 10
    damaged = [mutate(content, random.Random(seed), text=text) for seed in (1, 1, *range(2, 12))]
    assert damaged[0] == damaged[1]
    assert len({content, *damaged}) > 6

"""Damaged files of every kind end in one clear sentence, and never in a pass of what computes something else."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tools.mutation.campaign import run
from tools.mutation.kinds import KINDS
from tools.mutation.mutators import mutate

COUNT = 200
FEWER = {"pte": 100}
"""A .pte costs a third of a CPU second each: half as many keep all kinds within three minutes together."""


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_are_told_in_one_clear_sentence(exported: Path, kind: str) -> None:
    count = FEWER.get(kind, COUNT)
    tally = run(kind, count=count, seed=0, exported=exported, checked=2)
    assert tally.faults == []
    assert sum(tally.outcomes.values()) == count
    assert tally.outcomes["refused"] > count // 10
    assert tally.outcomes["used"] > count // 20, "too few stay well formed to show what is wrongly accepted"


@pytest.mark.parametrize("text", [False, True])
def test_the_same_seed_damages_alike_and_another_does_not(text: bool) -> None:
    content = b'{"a": [1, 2.5, "b"]}' * 10
    damaged = [mutate(content, random.Random(seed), text=text) for seed in (1, 1, *range(2, 12))]
    assert damaged[0] == damaged[1]
    assert len({content, *damaged}) > 6

"""Every model through every target: it exports, the artifact loads in its runtime, and computes the model."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pytest

import mobilevit_tools
from mobilevit_tools.exporters.delegation_lint import UNKNOWN, reason
from mobilevit_tools.models.cards import ModelCard
from mobilevit_tools.targets.registry import STANDARD
from tests.cards import CARDS, ONE_OF_A_KIND, SMALLEST
from tests.shallow import cut_builder


def small_size(card: ModelCard) -> tuple[int, int]:
    """Return the smallest input that leaves the last stage more than one token, no larger than the default."""
    side = min(max(2 * card.size_multiple, 32), card.preprocessing.input_size[0])
    return side, side


def check(card: ModelCard, size: tuple[int, int] | None, folder: Path, targets: Collection[str] = STANDARD) -> None:
    result = mobilevit_tools.export(card.name, targets=targets, random_weights=True, input_size=size, output=folder)
    assert [artifact.target for artifact in result.artifacts] == [name for name in STANDARD if name in targets]
    for artifact in result.artifacts:
        assert artifact.parity.status == "passed", (artifact.target, artifact.parity.reason)
        assert artifact.parity.inputs >= 11
    delegation = result.artifacts[-1].delegation
    if result.artifacts[-1].target != "executorch":
        return
    assert delegation is not None
    assert delegation.macs_share is not None
    assert delegation.macs_share >= 0.99
    assert [name for name in delegation.outside if reason(name, "xnnpack") == UNKNOWN] == []
    if card.outside is None:
        assert (delegation.calls, delegation.outside) == (1, {})


@pytest.mark.thorough(twin="test_quick_ones_small_and_shallow")
@pytest.mark.parametrize("card", ONE_OF_A_KIND)
def test_small_and_shallow(card: ModelCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut_builder(monkeypatch, card.name)
    check(card, small_size(card), tmp_path)


QUICK = ("couplformer_kct2", "deit_t", "armour_deit_t")
"""Those that every target converts in seconds; smaller ones of the other families are converted with the rewrites, and
with what is inside the packages and the programs."""


@pytest.mark.parametrize("card", SMALLEST, ids=lambda card: card.name)
def test_quick_ones_small_and_shallow(card: ModelCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut_builder(monkeypatch, card.name)
    check(card, small_size(card), tmp_path, STANDARD if card.name in QUICK else ("onnx",))


@pytest.mark.slow
@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_full_size(card: ModelCard, tmp_path: Path) -> None:
    check(card, None, tmp_path)

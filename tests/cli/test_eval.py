"""``mvt eval``: what contradicts itself is refused before anything is read."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.cli.conftest import Ran

Mvt = Callable[..., Ran]


@pytest.mark.parametrize(
    "options", [["--model", "care_s0"], ["--checkpoint", "w.pth"], ["--checkpoint", "w.pth", "--no-ema"], ["--ema"]]
)
def test_a_model_to_agree_with_and_none_are_refused(mvt: Mvt, options: list[str]) -> None:
    ran = mvt("eval", "nowhere.onnx", "nowhere", "--no-reference", *options, "--json")
    assert (ran.code, ran.envelope["error"]["code"]) == (2, "usage")
    assert "--no-reference" in ran.envelope["error"]["message"]
    assert options[0] in ran.envelope["error"]["message"]

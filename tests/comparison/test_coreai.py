from __future__ import annotations

import hashlib

import pytest
import torch

pytest.importorskip("coreai_torch", reason="the `coreai` extra is not installed; make test-targets")

from mobilevit_tools.comparison.reading import read_apart
from tests.optional import Net, artifact

pytestmark = pytest.mark.targets


def test_the_models_weights_are_found() -> None:
    stored, notes = read_apart("coreai", artifact("coreai"))
    torch.manual_seed(0)
    net = Net()
    contents = {each.sha256 for each in stored}
    for weight in (net.attention.weight, net.head.weight):
        assert hashlib.sha256(weight.detach().numpy().tobytes()).hexdigest() in contents
    assert {each.dtype for each in stored} == {"f32"}
    assert notes == ("Core AI assets do not store weight names.",)

"""Every call that makes sense for a module takes one; the others say what to give in its place."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

import mobilevit_tools
from mobilevit_tools.api.given import given_module
from mobilevit_tools.artifacts.manifest import read_manifest
from mobilevit_tools.errors import GateError, UsageError
from tests.models.test_in_memory import SIZE, Net

NOTEBOOK = """
import logging, os, warnings, numpy, torch, mobilevit_tools
class Cell(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.head = torch.nn.Conv2d(3, 8, 4, 4), torch.nn.Linear(8, 4)
    def forward(self, x):
        return self.head(torch.nn.functional.gelu(self.stem(x)).mean((2, 3)))
cell = Cell()
def state():
    return dict(os.environ), list(warnings.filters), list(logging.root.handlers), repr(numpy.random.get_state())
before = state()
result = mobilevit_tools.export(cell, input_size=(32, 32), mean=(0, 0, 0), std=(1, 1, 1))
print(result.model, *((each.target, each.parity.status) for each in result.artifacts))
assert state() == before
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Net, Path]:
    """A module and its artifact."""
    torch.manual_seed(0)
    net = Net()
    folder = tmp_path_factory.mktemp("made")
    result = mobilevit_tools.export(
        net,
        name="net-1",
        targets="onnx",
        input_size=SIZE,
        output=folder,
        card=mobilevit_tools.Card(labels=("a", "b", "c")),
    )
    assert net.training
    return net, result.artifacts[0].path


def test_a_class_of_a_notebook_is_exported_to_every_target(tmp_path: Path) -> None:
    """What is typed into an interpreter is in no file, and no other process could import it."""
    run = [sys.executable, "-"]
    said = subprocess.run(run, input=NOTEBOOK, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    assert said.stdout.split("\n")[0].startswith(
        "Cell ('onnx', 'passed') ('coreml', 'passed') ('executorch', 'passed')"
    )


def test_the_manifest_tells_of_memory(made: tuple[Net, Path]) -> None:
    manifest = read_manifest(made[1].parent / "manifest.json")
    assert manifest.model.name == "net-1"
    assert manifest.contract.labels == ("a", "b", "c")
    assert not manifest.model.weights.random
    assert manifest.command is None


def test_verify_takes_the_module(made: tuple[Net, Path]) -> None:
    net, path = made
    assert mobilevit_tools.verify(path, model=net).parity.status == "passed"
    with pytest.raises(GateError):
        mobilevit_tools.verify(path, model=Net())
    with pytest.raises(UsageError, match="made from net-1, a module that was in memory") as caught:
        mobilevit_tools.verify(path)
    assert "model=" in (caught.value.hint or "")
    with pytest.raises(UsageError, match="checkpoint: only valid for a named model"):
        mobilevit_tools.verify(path, model=net, checkpoint="w.pth")


def test_a_card_says_nothing_of_what_it_leaves_out() -> None:
    net = Net()
    net.pretrained_cfg = {"input_size": (3, *SIZE), "mean": (0.0, 0.0, 0.0)}
    given = given_module(net, card=mobilevit_tools.Card(license="MIT"), overrides={"std": (1.0, 1.0, 1.0)})
    assert given is not None
    loaded = given.load()
    assert (loaded.license, loaded.preprocessing.mean, loaded.preprocessing.std) == ("MIT", (0, 0, 0), (1, 1, 1))


def test_info_takes_the_module() -> None:
    net = Net()
    found = mobilevit_tools.info(net, input_size=SIZE)
    assert found.name == "Net"
    assert found.params == sum(each.numel() for each in net.parameters())
    assert found.macs == 7 * 7 * 4 * 27 + 12
    assert net.training


@pytest.mark.parametrize(
    ("model", "given", "says"),
    [
        (3, {}, "A model is a name or a torch.nn.Module, not a int"),
        ("care_s0", {"name": "mine"}, "name: only valid for a module in memory"),
        ("care_s0", {"mean": 0.5}, "three numbers, not 0.5"),
        ("care_s0", {"card": {}}, "card: only valid for a module in memory"),
        (nn.Identity(), {"checkpoint": "w.pth", "random_weights": True}, "checkpoint, random_weights: only valid for"),
        (nn.Identity(), {"card": 3}, "A card is a Card or a dict, not a int"),
    ],
)
def test_what_is_for_the_other_kind_of_model_is_refused(model: object, given: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        mobilevit_tools.export(model, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "call",
    [
        mobilevit_tools.verify,
        mobilevit_tools.inspect,
        mobilevit_tools.profile,
        lambda net: mobilevit_tools.predict(net, ["photo.jpg"]),
        lambda net: mobilevit_tools.evaluate(net, "photos"),
        lambda net: mobilevit_tools.compare("model.onnx", net),
        lambda net: mobilevit_tools.diff(net, "model.onnx"),
    ],
    ids=["verify", "inspect", "profile", "predict", "evaluate", "compare", "diff"],
)
def test_what_runs_a_file_says_to_export_the_module_first(call: Callable[[nn.Module], object]) -> None:
    with pytest.raises(UsageError, match="takes the path of an artifact, not a module in memory") as caught:
        call(Net())
    assert caught.value.hint == "Export the module and pass result.artifacts[0].path."


@pytest.mark.parametrize(
    "call",
    [
        mobilevit_tools.smoke,
        mobilevit_tools.sweep,
        mobilevit_tools.bench_rewrites,
        lambda net: mobilevit_tools.smoke(["care_s0", net]),
        lambda net: mobilevit_tools.bench_precisions(net, calibration="photos", eval_data="photos"),
    ],
    ids=["smoke", "sweep", "rewrites", "list", "precisions"],
)
def test_what_starts_processes_says_to_put_the_module_into_a_file(call: Callable[[nn.Module], object]) -> None:
    with pytest.raises(UsageError, match="needs a model name, not a module in memory") as caught:
        call(Net())
    assert "net.py:build" in (caught.value.hint or "")

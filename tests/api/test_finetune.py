"""A quantized model that has learnt from its float model, from photos to artifact."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from torch import Tensor, nn

import mobilevit_tools as mvt
from mobilevit_tools.api import finetune as module
from mobilevit_tools.models.learnt import PREFIX
from mobilevit_tools.progress import Advance
from mobilevit_tools.quantization import distillation
from tests.tiers import thorough

SIDE = 16


class Net(nn.Module):
    """Convolutions with a norm between them, and a head; channels differ in scale."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 4, stride=4)
        self.norm = nn.BatchNorm2d(32)
        self.point = nn.Conv2d(32, 32, 1)
        self.head = nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        return self.head((x + torch.relu(self.point(x))).mean((2, 3)))


def build() -> Net:
    torch.manual_seed(0)
    net = Net().eval()
    net.norm.running_var.uniform_(0.2, 2)
    with torch.no_grad():
        net.point.weight.mul_(torch.logspace(-1, 0.5, 32).view(1, -1, 1, 1))
    return net


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty soft pictures; fewer than a calibration wants, so that half are judged on."""
    path = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    for index in range(40):
        blocks = generator.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(blocks).resize((24, 24), Image.Resampling.BICUBIC).save(path / f"{index}.png")
    return path


@pytest.fixture
def any_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take what a few steps learn, whether it is of use or not."""
    monkeypatch.setattr(module, "_check_nearer", lambda *_: None)


def _learn(folder: Path, output: Path, **settings: object) -> mvt.FinetuneResult:
    given: dict[str, object] = {"precision": "int8", "target": "onnx", "steps": 4, "device": "cpu", **settings}
    return mvt.finetune(
        build(),
        name="net",
        calibration=folder,
        output=output,
        input_size=(SIDE, SIDE),
        **given,  # type: ignore[arg-type]
    )


def _export(model: str | nn.Module, **settings: object) -> mvt.ExportedArtifact:
    """Return the artifact, near enough or not: pictures and weights are drawn by chance."""
    try:
        result = mvt.export(model, keep_failed=True, **settings)  # type: ignore[arg-type]
    except mvt.GateError as error:
        if not isinstance(error.result, mvt.ExportResult):
            raise
        result = error.result
    return result.artifacts[0]


def _tensors(path: Path) -> dict[str, Tensor]:
    with safe_open(str(path), framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


@contextmanager
def _interrupting(step: str, parts: int = 0, /) -> Iterator[Advance]:
    """Interrupt the learning when a half of it is over."""
    told = 0

    def advance() -> None:
        nonlocal told
        told += 1
        if told >= parts // 2:
            raise KeyboardInterrupt

    yield advance if step.startswith("Fine-tuning") else lambda: None


def test_learning_brings_the_quantized_model_nearer(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distillation, "LEARNING_RATE", 1e-4)
    tuned = _learn(folder, tmp_path / "net.safetensors", steps=200)
    assert tuned.after.snr_db > tuned.before.snr_db + 0.15
    assert tuned.finished
    monkeypatch.setattr(distillation, "LEARNING_RATE", 1.0)
    with pytest.raises(mvt.GateError, match="came no nearer"):
        _learn(folder, tmp_path / "worse.safetensors")
    assert not list(tmp_path.glob("worse*"))


@pytest.mark.usefixtures("any_result")
@pytest.mark.parametrize(
    ("target", "precision"), [thorough("executorch", "int8"), ("coreml", "int8"), ("coreml", "palette4")]
)
def test_what_was_learnt_is_in_the_artifact(folder: Path, tmp_path: Path, target: str, precision: str) -> None:
    tuned = _learn(folder, tmp_path / "net.safetensors", target=target, precision=precision)
    snr_db = {}
    for checkpoint in (tuned.checkpoint, None):
        made = _export(
            build(),
            name="net",
            targets=target,
            precision=precision,
            calibration=folder,
            checkpoint=checkpoint,
            input_size=(SIDE, SIDE),
            output=tmp_path / str(checkpoint is None),
            least_quantized=0,
        )
        said = json.loads(made.manifest.read_text())["quantization"]["learnt"]
        assert (said is None) == (checkpoint is None)
        if said is not None:
            assert (said["precision"], said["steps"], said["photos"]) == (precision, 4, 20)
        snr_db[checkpoint] = made.parity.snr_db
    assert snr_db[tuned.checkpoint] != snr_db[None]


@pytest.mark.usefixtures("any_result")
def test_a_run_that_learns_too_fast_goes_back_and_learns_more_slowly(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distillation, "LEARNING_RATE", 0.1)
    monkeypatch.setattr(distillation, "CHECK_EVERY", 3)
    rates: list[float] = []
    look = distillation.Distillation.look

    def looking(self: distillation.Distillation) -> None:
        look(self)
        rates.append(self._rate)

    monkeypatch.setattr(distillation.Distillation, "look", looking)
    tuned = _learn(folder, tmp_path / "net.safetensors", steps=6)
    assert rates == pytest.approx([0.1, 0.03, 0.009])
    assert tuned.after == tuned.before


@pytest.mark.usefixtures("any_result")
def test_an_interrupted_run_goes_on_as_if_it_had_not_been(folder: Path, tmp_path: Path) -> None:
    whole, halves = tmp_path / "whole.safetensors", tmp_path / "halves.safetensors"
    _learn(folder, whole)
    with pytest.raises(KeyboardInterrupt):
        _learn(folder, halves, progress=_interrupting)
    assert not halves.exists()
    state = halves.with_name("halves.safetensors.state")
    assert 0 < int(_tensors(state)["steps"]) < 4
    with pytest.raises(mvt.BadInputError, match="another run: its seed differ"):
        _learn(folder, halves, seed=3)
    _learn(folder, halves)
    assert not state.exists()
    one, other = _tensors(whole), _tensors(halves)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.usefixtures("any_result")
def test_a_seed_makes_a_difference_and_time_is_an_end(folder: Path, tmp_path: Path) -> None:
    _learn(folder, tmp_path / "a.safetensors")
    _learn(folder, tmp_path / "b.safetensors", seed=1)
    a, b = _tensors(tmp_path / "a.safetensors"), _tensors(tmp_path / "b.safetensors")
    assert any(not torch.equal(a[key], b[key]) for key in a)
    short = _learn(folder, tmp_path / "c.safetensors", steps=100_000, minutes=0.02)
    assert not short.finished
    assert short.steps < 100_000


@pytest.mark.usefixtures("any_result")
def test_what_was_learnt_is_for_one_target_and_one_model(folder: Path, tmp_path: Path) -> None:
    tuned = _learn(folder, tmp_path / "net.safetensors").checkpoint
    common = {"name": "net", "input_size": (SIDE, SIDE), "output": tmp_path, "checkpoint": tuned}
    with pytest.raises(mvt.UsageError, match="fine-tuned for onnx int8, not for onnx int8-weight"):
        mvt.export(build(), targets="onnx", precision="int8-weight", **common)  # type: ignore[arg-type]
    other = build()
    with torch.no_grad():
        other.head.bias.add_(1)
    with pytest.raises(mvt.BadInputError, match="other weights than net has"):
        mvt.export(other, targets="onnx", precision="int8", calibration=folder, **common)  # type: ignore[arg-type]
    floating = mvt.export(build(), targets="onnx", **common).artifacts[0]  # type: ignore[arg-type]
    assert floating.parity.status == "passed"
    assert floating.quantization is None


@pytest.mark.usefixtures("any_result")
def test_a_checkpoint_that_was_given_is_in_the_result(folder: Path, tmp_path: Path) -> None:
    source = tmp_path / "net.py"
    source.write_text(
        "from tests.api.test_finetune import Net\n\ndef build():\n    return Net(), {'input_size': (16, 16)}\n"
    )
    torch.save(build().state_dict(), tmp_path / "weights.pth")
    tuned = mvt.finetune(
        f"{source}:build",
        precision="int8",
        target="onnx",
        calibration=folder,
        output=tmp_path / "tuned.safetensors",
        checkpoint=tmp_path / "weights.pth",
        steps=4,
    )
    (tmp_path / "weights.pth").unlink()
    keys = _tensors(tuned.checkpoint).keys()
    assert {"head.weight", f"{PREFIX}head.weight"} <= keys
    made = _export(
        f"{source}:build",
        targets="onnx",
        precision="int8",
        calibration=folder,
        checkpoint=tuned.checkpoint,
        output=tmp_path,
    )
    assert made.quantization is not None
    assert made.quantization.learnt is not None
    assert made.quantization.learnt.weights_inside


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"precision": "fp16"}, "Nothing is quantized in fp16"),
        ({"precision": "dynamic-int8"}, "for onnx in dynamic-int8 is not supported"),
        ({"minutes": 0.0}, "at least one step and some time"),
        ({"device": "tpu"}, "no device named 'tpu'"),
    ],
)
def test_what_cannot_be_is_refused_at_once(
    folder: Path, tmp_path: Path, settings: dict[str, object], reason: str
) -> None:
    with pytest.raises(mvt.UsageError, match=reason):
        _learn(folder, tmp_path / "net.safetensors", **settings)
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten_unasked(folder: Path, tmp_path: Path) -> None:
    there = tmp_path / "net.safetensors"
    there.write_bytes(b"mine")
    with pytest.raises(mvt.UsageError, match="already exists"):
        _learn(folder, there)
    assert there.read_bytes() == b"mine"
    with pytest.raises(mvt.UsageError, match=r"is not a \.safetensors file"):
        _learn(folder, tmp_path / "net.pth")


@pytest.mark.parametrize("content", [b"", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      ", b"not safetensors at all"])
def test_a_damaged_state_is_named(folder: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "net.safetensors.state").write_bytes(content)
    with pytest.raises(
        mvt.BadInputError, match=r"net\.safetensors\.state (cannot be read|is of another run)"
    ) as caught:
        _learn(folder, tmp_path / "net.safetensors")
    assert caught.value.error_code == "bad_state"


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    from safetensors.torch import save

    from mobilevit_tools.models.learnt import KEY, read_learnt

    path = tmp_path / "net.safetensors"
    for said, reason in (("{}", "does not say properly"), ('{"schema": 1', "does not say properly")):
        path.write_bytes(save({"a": torch.zeros(1)}, {KEY: said}))
        with pytest.raises(mvt.BadInputError, match=reason):
            read_learnt(path)
    path.write_bytes(save({"a": torch.zeros(1)}))
    assert read_learnt(path) is None

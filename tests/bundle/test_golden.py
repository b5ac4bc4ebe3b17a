"""A bundle says the truth about its artifact, and finds out one that computes something else."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mobilevit_tools.artifacts.files import describe_artifact
from mobilevit_tools.bundle.golden import allowed
from mobilevit_tools.data.preprocessing import Preprocessing
from mobilevit_tools.tasks.probabilities import softmax
from mobilevit_tools.verification.metrics import distance
from mobilevit_tools.verification.tolerances import GATES

TARGETS = ("onnx", "executorch", "coreml")

# What somebody without this project has: the bundle, a runtime, and NumPy.
READ = """
import json, sys
import numpy as np
from pathlib import Path
folder = Path(sys.argv[1])
golden = json.loads((folder / "golden.json").read_text())
stored = golden["input"]
dtype = {"float32": "<f4", "uint8": "u1"}[stored["dtype"]]
values = np.fromfile(folder / stored["file"], dtype).reshape(stored["shape"])
artifact = str(folder / golden["artifact"]["file"])
"""
RUN = {
    "onnx": """
import onnxruntime
options = onnxruntime.SessionOptions()
options.add_session_config_entry("session.x64quantprecision", "1")
session = onnxruntime.InferenceSession(artifact, options)
answers = session.run([output["name"] for output in golden["outputs"]], {stored["name"]: values})
assert "torch" not in sys.modules
""",
    "executorch": """
import torch
from executorch.extension.pybindings import _C
module = _C._load_for_executorch(artifact)
answers = [answer.numpy() for answer in module.run_method("forward", (torch.from_numpy(values),))]
""",
    "coreml": """
from mobilevit_tools.runtimes.registry import open_session
pixels = values[..., 2::-1].transpose(2, 0, 1)[None]
with open_session(Path(artifact)) as session:
    answers = session.run(np.ascontiguousarray(pixels))[-len(golden["outputs"]):]
""",
}
COMPARE = """
for output, answer in zip(golden["outputs"], answers, strict=True):
    expected = np.fromfile(folder / output["file"], "<f4").reshape(output["shape"])
    error = answer.astype(np.float64) - expected
    assert np.abs(error).max() <= output["max_abs"] and np.linalg.norm(error) <= output["l2"], "mismatch"
"""


def check(target: str, bundle: Path) -> subprocess.CompletedProcess[str]:
    program = READ + RUN[target] + COMPARE
    return subprocess.run([sys.executable, "-c", program, bundle], capture_output=True, text=True, check=False)


def golden_of(bundle: Path) -> dict:
    return json.loads((bundle / "golden.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("target", TARGETS)
def test_the_runtime_alone_gives_what_is_expected(bundles: Mapping[str, Path], target: str) -> None:
    ran = check(target, bundles[target])
    assert ran.returncode == 0, ran.stderr


def _runs_of_weights(floats: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        plausible = (np.abs(floats) > 1e-3) & (np.abs(floats) < 1)
    return np.flatnonzero(np.convolve(plausible, np.ones(256), "valid") == 256)


@pytest.mark.parametrize("target", TARGETS)
def test_a_wrong_artifact_is_found_out(bundles: Mapping[str, Path], tmp_path: Path, target: str) -> None:
    bundle = Path(shutil.copytree(bundles[target], tmp_path / "bundle"))
    artifact = bundle / golden_of(bundle)["artifact"]["file"]
    weights = next(artifact.rglob("weight.bin")) if artifact.is_dir() else artifact
    data = bytearray(weights.read_bytes())
    # One run of values that look like weights, a tenth larger; they may begin at any byte.
    shifted = [np.frombuffer(data, "<f4", count=(len(data) - offset) // 4, offset=offset) for offset in range(4)]
    floats, runs = max(((each, _runs_of_weights(each)) for each in shifted), key=lambda found: len(found[1]))
    floats[runs[len(runs) // 2] :][:256] *= np.float32(1.1)
    weights.unlink()
    weights.write_bytes(data)
    ran = check(target, bundle)
    assert ran.returncode != 0
    assert "AssertionError: mismatch" in ran.stderr


@pytest.mark.parametrize("target", TARGETS)
def test_digests_and_names(bundles: Mapping[str, Path], exported: Path, target: str) -> None:
    bundle = bundles[target]
    golden = golden_of(bundle)
    entries = [golden["input"], *golden["outputs"]]
    for entry in entries:
        assert hashlib.sha256((bundle / entry["file"]).read_bytes()).hexdigest() == entry["sha256"]
    assert describe_artifact(bundle / golden["artifact"]["file"]).sha256 == golden["artifact"]["sha256"]
    files = {golden["artifact"]["file"], golden["input"]["image"], *golden["snippets"], "golden.json"}
    assert {path.name for path in bundle.iterdir()} == files | {entry["file"] for entry in entries}
    assert golden["top1"] == np.fromfile(bundle / "expected.0.bin", "<f4").argmax()


@pytest.mark.parametrize("target", TARGETS)
def test_the_artifact_takes_no_second_place(bundles: Mapping[str, Path], target: str) -> None:
    bundle = bundles[target]
    copies = [path for path in bundle.glob("model.*/**/*") if path.is_file()] or list(bundle.glob("model.*"))
    assert copies
    for copy in copies:
        assert copy.samefile(bundle.parent / copy.relative_to(bundle))


@pytest.mark.parametrize("target", TARGETS)
def test_the_picture_is_the_input(bundles: Mapping[str, Path], target: str) -> None:
    bundle = bundles[target]
    golden = golden_of(bundle)
    picture = np.asarray(Image.open(bundle / "input.png"))
    assert np.abs(picture[..., 0].astype(int) - picture[..., 2]).mean() > 10  # grey would hide swapped channels
    raw = (bundle / "input.bin").read_bytes()
    if target == "coreml":
        assert golden["input"]["layout"] == "HWC, BGRA"
        pixels = np.frombuffer(raw, np.uint8).reshape(golden["input"]["shape"])
        np.testing.assert_array_equal(pixels[..., 2::-1], picture)
        assert (pixels[..., 3] == 255).all()
    else:
        recipe = Preprocessing(**golden["preprocessing"])
        expected = recipe.normalize(picture.transpose(2, 0, 1))[None]
        np.testing.assert_array_equal(np.frombuffer(raw, "<f4").reshape(golden["input"]["shape"]), expected)


@given(st.sampled_from(sorted(GATES)), st.integers(0, 2**32 - 1), st.floats(0.01, 30), st.floats(-100, 100))
def test_what_meets_the_gate_is_allowed(precision: str, seed: int, scale: float, offset: float) -> None:
    rng = np.random.default_rng(seed)
    gate = GATES[precision]
    logits = scale * rng.standard_normal((1, 7))
    apart = logits - logits.mean()
    logits += offset
    error = rng.standard_normal((1, 7))
    error *= np.linalg.norm(apart) * 10 ** (-gate.snr_db / 20) / np.linalg.norm(error)
    if gate.max_abs_rel is not None:
        error *= min(1.0, gate.max_abs_rel * np.abs(apart).max() / np.abs(error).max())
    assert (distance(logits, logits + error, logits=True).snr_db or 0) >= gate.snr_db - 1e-6
    for holds in ("logits", "probabilities"):
        there, here = (softmax(each) if holds == "probabilities" else each for each in (logits, logits + error))
        max_abs, l2 = allowed(logits, gate, holds=holds)
        assert np.abs(here - there).max() <= max_abs * (1 + 1e-9) + 1e-12  # the offset rounds away so much
        assert np.linalg.norm(here - there) <= l2 * (1 + 1e-9) + 1e-12


def test_the_bound_on_probabilities_is_reached() -> None:
    gate = GATES["fp32"]
    logits = np.array([[10.0, 10.0, -20.0]])
    assert gate.max_abs_rel is not None
    step = 20 * gate.max_abs_rel
    moved = softmax(logits + np.array([[step, -step, 0.0]])) - softmax(logits)
    max_abs, _ = allowed(logits, gate, holds="probabilities")
    assert np.abs(moved).max() == pytest.approx(max_abs, rel=1e-5)

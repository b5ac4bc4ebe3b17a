"""Decoders give what mvt itself gives, in every language, and notice when they do not."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import mobilevit_tools as mvt
from mobilevit_tools.bundle.contents import Golden
from mobilevit_tools.bundle.golden import DECODED_NAME
from mobilevit_tools.bundle.snippets import DECODERS, render
from mobilevit_tools.data.contract import Contract
from mobilevit_tools.data.preprocessing import Preprocessing
from mobilevit_tools.tasks import detect, segment
from mobilevit_tools.tasks.suppression import overlaps
from tests.bundle.conftest import golden_in
from tests.bundle.test_compiled import kotlin_program, swift_program
from tests.tasks.nets import CARD, LABELS, SIZE, detector, segmenter

TASKS = ("detect", "segment")
KINDS = {"detect": "boxes", "segment": "classes"}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A bundle of a small detector and one of a small segmenter; do not write."""
    folder, made = tmp_path_factory.mktemp("decoders"), {}
    for task, module in (("detect", detector()), ("segment", segmenter())):
        labels = LABELS[:3] if task == "detect" else LABELS
        asked = {"name": task, "card": {**CARD, "labels": labels, "task": task}, "targets": "onnx"}
        (artifact,) = mvt.export(module, output=folder, bundle=True, **asked).artifacts
        made[task] = artifact.bundle
    return made


def copied(bundle: Path, folder: Path) -> Path:
    """A copy of a bundle that can be written to; the artifact is of no use to decoders."""
    folder.mkdir()
    for path in bundle.iterdir():
        if path.suffix != ".onnx":
            folder.joinpath(path.name).write_bytes(path.read_bytes())
    return folder


def crowded(bundle: Path, folder: Path) -> tuple[Path, np.ndarray]:
    """The detector's bundle with many boxes that overlap, some of equal score, and what mvt finds among them."""
    rng = np.random.default_rng(7)
    folder.mkdir()
    count, classes = 3000, 3
    corners = rng.uniform(0, 30, (count, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(-1, 12, (count, 2))], 1).astype(np.float32)
    scores = (rng.integers(0, 200, (count, classes)) / 200).astype(np.float32)
    golden = golden_in(bundle)
    how, rows = detect.decoding([boxes, scores], Contract("net", golden.preprocessing, output="boxes"))
    assert golden.decoding is not None
    write(replace(golden, decoding=replace(golden.decoding, how=how)), [boxes, scores], rows, folder)
    return folder, rows


def blurred(bundle: Path, folder: Path) -> tuple[Path, np.ndarray]:
    """The segmenter's bundle with scores of noise, and mvt's class map."""
    rng = np.random.default_rng(8)
    folder.mkdir()
    golden = golden_in(bundle)
    scores = rng.standard_normal((7, 9, 5)).astype(np.float32)
    how, classes = segment.decoding([scores], Contract("net", golden.preprocessing, output="score_map"))
    assert golden.decoding is not None
    write(replace(golden, decoding=replace(golden.decoding, how=how)), [scores], classes, folder)
    return folder, classes


def write(golden: Golden, outputs: list[np.ndarray], decoded: np.ndarray, folder: Path) -> None:
    for index, values in enumerate(outputs):
        values.tofile(folder / f"expected.{index}.bin")
    decoded.tofile(folder / DECODED_NAME)
    assert golden.decoding is not None
    for suffix, name in DECODERS.items():
        folder.joinpath(name).write_text(render(f"decode_{golden.decoding.how.kind}{suffix}", golden))


def hard(task: str, bundles: dict[str, Path], folder: Path) -> tuple[Path, np.ndarray]:
    return (crowded if task == "detect" else blurred)(bundles[task], folder)


def damaged(folder: Path) -> Iterator[str]:
    """Damage what a decoder is held against, one way after the other."""
    stored = folder / DECODED_NAME
    whole = np.fromfile(stored, "<f4" if "boxes" in folder.joinpath("decoder.py").read_text() else "<i4")
    moved = whole.copy()
    moved[: moved.size // 2] += 1
    for name, values in (("moved", moved), ("shorter", whole[:-6]), ("longer", np.append(whole, whole[-6:]))):
        values.tofile(stored)
        yield name
    whole.tofile(stored)


@pytest.mark.parametrize("task", TASKS)
def test_a_bundle_says_how_outputs_are_decoded(bundles: dict[str, Path], task: str) -> None:
    golden = json.loads((bundles[task] / "golden.json").read_text())
    said = golden["decoding"]
    assert said["how"]["kind"] == KINDS[task]
    assert said["code"] == ["decoder.py", "Decoder.kt", "Decoder.swift"]
    assert all((bundles[task] / name).is_file() for name in said["code"])
    values = np.fromfile(bundles[task] / said["file"], {"float32": "<f4", "int32": "<i4"}[said["dtype"]])
    assert values.size == np.prod(said["shape"]) > 0


@pytest.mark.parametrize("task", TASKS)
def test_every_language_has_the_same_constants(bundles: dict[str, Path], task: str) -> None:
    golden = golden_in(bundles[task])
    assert golden.decoding is not None
    how = golden.decoding.how
    wanted = (
        [how.boxes, how.classes, how.least_score, how.most_overlap, how.candidates, how.most, how.checked_above]
        if how.kind == "boxes"
        else [how.classes, *how.map_size, *how.size]
    )
    for name in golden.decoding.code:
        text = (bundles[task] / name).read_text()
        numbers = [float(each) for each in re.findall(r"(?<![\w.])\d+(?:\.\d+)?(?:e-\d+)?(?![\w.])", text)]
        assert not [each for each in wanted if float(each) not in numbers], name
        assert all(f'"{label}"' in text or f"'{label}'" in text for label in golden.labels or ())


@pytest.mark.parametrize("task", TASKS)
def test_python_gives_what_mvt_gives(bundles: dict[str, Path], tmp_path: Path, task: str) -> None:
    folder, right = hard(task, bundles, tmp_path / "hard")
    decoder = runpy.run_path(str(folder / "decoder.py"))
    outputs = [np.fromfile(path, "<f4") for path in sorted(folder.glob("expected.*.bin"))]
    found = decoder["decode"](*outputs)
    if task == "detect":
        assert found.shape == right.shape == (100, 6)
        empty = (right[:, 2] <= right[:, 0]) | (right[:, 3] <= right[:, 1])
        assert 0 < empty.sum() < 50
        assert overlaps(found[~empty, :4], right[~empty, :4]).min() >= 0.999
        np.testing.assert_allclose(found[empty, :4], right[empty, :4], rtol=1e-6)
        np.testing.assert_array_equal(found[:, 4:].astype(np.float32), right[:, 4:])
    else:
        np.testing.assert_array_equal(found, right)
    runpy.run_path(str(bundles[task] / "decoder.py"))["check"](bundles[task])
    decoder["check"](folder)
    for _ in damaged(folder):
        with pytest.raises(ValueError, match=r"detection|pixels"):
            decoder["check"](folder)


@pytest.mark.parametrize("crop", [None, 0.8])
def test_boxes_are_placed_in_the_photo(bundles: dict[str, Path], tmp_path: Path, crop: float | None) -> None:
    golden = golden_in(bundles["detect"])
    recipe = replace(golden.preprocessing, crop_fraction=crop)
    path = tmp_path / "decoder.py"
    path.write_text(render("decode_boxes.py.j2", replace(golden, preprocessing=recipe)))
    rows = np.array([[0, 0, 48, 32, 0.5, 1], [-3, 5, 20.5, 31, 0.4, 0]])
    placed = runpy.run_path(str(path))["in_photo"](rows, 200, 90)
    np.testing.assert_allclose(placed[:, :4], recipe.in_image(rows[:, :4], Image.new("RGB", (200, 90))), atol=1e-9)


def test_the_legend_is_that_of_predictions(bundles: dict[str, Path]) -> None:
    decoder = runpy.run_path(str(bundles["segment"] / "decoder.py"))
    classes = np.fromfile(bundles["segment"] / DECODED_NAME, "<i4").reshape(SIZE)
    recipe = Preprocessing(SIZE, None, "bilinear", (0.0,) * 3, (1.0,) * 3)
    shares = segment._shares(classes.astype(np.int64), Contract("net", recipe, labels=LABELS))
    assert [each[:3] for each in decoder["legend"](classes)] == [(s.index, s.label, s.share) for s in shares]


def test_what_is_not_detected_is_checked_all_the_same() -> None:
    scores = np.linspace(0.001, 0.02, 40, dtype=np.float32).reshape(20, 2)
    boxes = np.tile(np.array([[0, 0, 4, 4]], np.float32), (20, 1)) + np.arange(20, dtype=np.float32)[:, None] * 8
    recipe = Preprocessing(SIZE, None, "bilinear", (0.0,) * 3, (1.0,) * 3)
    how, rows = detect.decoding([boxes, scores], Contract("net", recipe, output="boxes"))
    assert how.checked_above < how.least_score
    assert len(rows) == 39


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("suffix", [".kt", ".swift"])
def test_apps_give_what_mvt_gives(bundles: dict[str, Path], tmp_path: Path, task: str, suffix: str) -> None:
    program = {".kt": kotlin_program, ".swift": swift_program}[suffix]
    folder, _ = hard(task, bundles, tmp_path / "hard")
    own = copied(bundles[task], tmp_path / "own")
    for each in (own, folder):
        run: Any = program(each / DECODERS[suffix], tmp_path / f"built-{each.name}")
        ran: subprocess.CompletedProcess[str] = run(each)
        assert ran.returncode == 0, ran.stderr
        for name in damaged(each):
            assert run(each).returncode != 0, name

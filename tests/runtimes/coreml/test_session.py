from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import pytest
import torch
from PIL import Image

from mobilevit_tools.api.predict import predict
from mobilevit_tools.data.contract import Contract, OutputKind
from mobilevit_tools.data.preprocessing import Preprocessing
from mobilevit_tools.errors import BadInputError, DeviceError
from mobilevit_tools.runtimes._base import UnsupportedOperatorError
from mobilevit_tools.runtimes.coreml.session import REFERENCE_NOTE, open_session
from mobilevit_tools.runtimes.registry import open_session as open_any
from mobilevit_tools.verification.inputs import VerificationInput
from mobilevit_tools.verification.running import verify_session
from mobilevit_tools.verification.tolerances import GATES
from tests.runtimes.coreml.building import convert, mb, noise, save


@pytest.fixture(scope="module")
def image_classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    @mb.program(input_specs=[mb.TensorSpec((1, 3, 4, 4))])
    def program(photo: Any) -> Any:
        return mb.softmax(x=mb.reduce_mean(x=photo, axes=[2, 3]), axis=-1)

    path = tmp_path_factory.mktemp("session") / "classifier.mlpackage"
    ct.convert(
        program,
        convert_to="mlprogram",
        skip_model_load=True,
        inputs=[ct.ImageType(name="photo", shape=(1, 3, 4, 4), scale=1 / 255)],
        classifier_config=ct.ClassifierConfig(["red", "green", "blue"]),
        compute_precision=ct.precision.FLOAT32,
    ).save(str(path))
    return path


PIXELS = np.full((1, 3, 4, 4), [[[[255]], [[51]], [[0]]]], np.uint8)


def test_a_session_describes_the_package_and_gives_logits_before_probabilities(image_classifier: Path) -> None:
    with open_any(image_classifier, threads=1) as session:
        (info,) = session.inputs
        assert (info.name, info.kind, info.dtype, info.shape) == ("photo", "image", "uint8", (1, 3, 4, 4))
        assert sorted(entry.kind for entry in session.outputs) == ["label", "tensor"]
        assert session.contract is None
        assert session.operators()["softmax"] == 1
        assert session.notes[0] == REFERENCE_NOTE
        logits, probabilities = session.run(PIXELS)
        np.testing.assert_allclose(logits, [[1, 0.2, 0]], rtol=1e-6)
        np.testing.assert_allclose(probabilities, np.exp(logits) / np.exp(logits).sum(), rtol=1e-6)
        call = session.prepare(PIXELS)
        assert isinstance(call(), dict)
        with pytest.raises(BadInputError, match="takes 1x3x4x4"):
            session.run(PIXELS[:, :, :2])


@pytest.mark.parametrize(("output", "count"), [(None, 1), ("logits", 1), ("features", 1), ("probabilities", 2)])
def test_a_softmax_of_the_model_itself_is_its_output(
    small_package: Path, output: OutputKind | None, count: int
) -> None:
    x = noise(1, 3, 8, 8)
    with open_session(small_package, threads=1) as session:
        session.contract = None if output is None else Contract("m", Preprocessing((8, 8)), output=output)
        results = session.run(x)
        assert len(results) == count
        np.testing.assert_allclose(results[-1].sum(), 1, rtol=1e-5)
        if count == 1:
            photo = VerificationInput("photo", "photo", x, None)
            assert verify_session(session, lambda _: results, [photo], GATES["fp32"]).status == "passed"


def test_threads_are_torchs_until_the_session_closes(small_package: Path) -> None:
    before = torch.get_num_threads()
    session = open_session(small_package, threads=before + 1)
    assert torch.get_num_threads() == before + 1
    session.close()
    assert torch.get_num_threads() == before


def test_the_arithmetic_can_be_chosen(small_package: Path) -> None:
    x = noise(1, 3, 8, 8)
    exact, half = (open_session(small_package, threads=1, arithmetic=name) for name in ("fp32", "half"))
    assert exact.run(x)[0].shape == (1, 5)
    assert 0 < np.abs(exact.run(x)[0] - half.run(x)[0]).max() < 0.05


def test_a_package_with_unknown_operators_opens_but_does_not_run(copied: Callable[[], Path]) -> None:
    path = copied()
    file = path / "Data" / "com.apple.CoreML" / "model.mlmodel"
    model = ct.proto.Model_pb2.Model.FromString(file.read_bytes())
    (block,) = model.mlProgram.functions["main"].block_specializations.values()
    next(entry for entry in block.operations if entry.type == "relu").type = "custom_layer"
    file.write_bytes(model.SerializeToString())
    session = open_session(path, threads=1)
    assert "custom_layer" in session.notes[0]
    with pytest.raises(UnsupportedOperatorError) as caught:
        session.run(noise(1, 3, 8, 8))
    assert caught.value.operators == ("custom_layer",)


def test_core_ml_itself_is_for_macos_alone(small_package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    assert open_session(small_package, threads=1).native() is None


class FakeModel:
    """Stands in for Core ML, which only macOS has."""

    labels = ("green", "blue", "red")

    def __init__(self, path: str) -> None:
        self.path = path

    def predict(self, feeds: dict[str, Any]) -> dict[str, Any]:
        pixels = np.asarray(feeds["photo"])
        assert pixels.shape == (4, 4, 3)
        shares = pixels.reshape(-1, 3).mean(0) / 255
        probabilities = dict(zip(["red", "green", "blue"], shares, strict=True))
        # Core ML's own dictionary is in the order of its hashes.
        return {"classLabel": "red", "classLabel_probs": {label: probabilities[label] for label in self.labels}}


def test_on_macos_core_ml_runs_beside_the_reference(image_classifier: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = open_session(image_classifier, threads=1)
    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setattr("coremltools.models.MLModel", FakeModel)
    native = session.native()
    assert native is not None
    assert native.operators() == session.operators()
    weights = weakref.ref(session.program)
    del session
    gc.collect()
    assert weights() is None
    assert {entry.name for entry in native.outputs} == {"classLabel", "classLabel_probs"}
    np.testing.assert_allclose(native.run(PIXELS)[0], [[1, 0.2, 0]], rtol=1e-6)
    native.prepare(PIXELS)()
    monkeypatch.setattr(FakeModel, "labels", ("green", "red"))
    with pytest.raises(DeviceError, match=r"Core ML failed on .*: it returns no probability for 'blue'"):
        native.run(PIXELS)
    monkeypatch.setattr(FakeModel, "predict", lambda self, feeds: 1 / 0)
    with pytest.raises(DeviceError, match=r"Core ML failed on classifier\.mlpackage"):
        native.run(PIXELS)


def test_random_numbers_are_run_and_not_verified(tmp_path: Path) -> None:
    @mb.program(input_specs=[mb.TensorSpec((1, 2))])
    def program(x: Any) -> Any:
        return mb.add(x=x, y=mb.random_uniform(shape=[1, 2], low=5.0, high=6.0), name="y")

    with open_session(save(program, tmp_path / "random.mlpackage"), threads=1) as session:
        (out,) = session.run(np.zeros((1, 2), np.float32))
        assert ((out >= 5) & (out < 6)).all()
        assert "random_uniform" in str(session.unverifiable)


@pytest.mark.parametrize("softmax", [True, False])
@pytest.mark.parametrize("gray", [True, False])
def test_a_classifier_of_others_says_enough_to_be_asked(tmp_path: Path, softmax: bool, gray: bool) -> None:
    channels = 1 if gray else 3

    @mb.program(input_specs=[mb.TensorSpec((1, channels, 4, 6))])
    def program(photo: Any) -> Any:
        means = mb.reduce_mean(x=photo, axes=[2, 3])
        scores = mb.concat(values=[means, mb.mul(x=means, y=-1.0)], axis=1)
        return mb.softmax(x=scores, axis=-1) if softmax else mb.mul(x=mb.sigmoid(x=scores), y=1 / channels)

    layout = {"color_layout": ct.colorlayout.GRAYSCALE} if gray else {}
    labels = list("abcdef")[: 2 * channels]
    path = save(
        program,
        tmp_path / "theirs.mlpackage",
        inputs=[ct.ImageType(name="photo", shape=(1, channels, 4, 6), scale=1 / 255, **layout)],
        classifier_config=ct.ClassifierConfig(labels),
    )
    photos = [tmp_path / f"{name}.png" for name in ("white", "red")]
    for photo, color in zip(photos, ((255, 255, 255), (200, 0, 0)), strict=True):
        Image.new("RGB", (12, 12), color).save(photo)
    found = predict(path, photos, top=len(labels))
    for prediction, light in zip(found.predictions, ([1.0] * 3, [200 / 255, 0, 0]), strict=True):
        means = np.array([round(255 * np.dot(light, [0.299, 0.587, 0.114])) / 255] if gray else light)
        scores = np.concatenate((means, -means))
        shares = 1 / (1 + np.exp(-scores)) / channels
        if softmax:
            shares = np.exp(scores) / np.exp(scores).sum()
        for guess in prediction.top:
            assert guess.label == labels[guess.index]
            assert guess.probability == pytest.approx(shares[guess.index], rel=1e-4)


def test_scores_that_are_no_probabilities_are_not_shown_as_such(tmp_path: Path) -> None:
    @mb.program(input_specs=[mb.TensorSpec((1, 3, 4, 6))])
    def program(photo: Any) -> Any:
        return mb.sigmoid(x=mb.reduce_mean(x=photo, axes=[2, 3]))

    path = save(
        program,
        tmp_path / "theirs.mlpackage",
        inputs=[ct.ImageType(name="photo", shape=(1, 3, 4, 6), scale=1 / 255)],
        classifier_config=ct.ClassifierConfig(["red", "green", "blue"]),
    )
    Image.new("RGB", (12, 12), (0, 255, 102)).save(tmp_path / "photo.png")
    (found,) = predict(path, [tmp_path / "photo.png"]).predictions
    assert [(guess.label, guess.probability) for guess in found.top] == [("green", None), ("blue", None), ("red", None)]
    assert [guess.value for guess in found.top] == pytest.approx([1 / (1 + np.exp(-each)) for each in (1, 0.4, 0)])


@pytest.mark.parametrize(("given", "returned"), [("in", ""), ("", "out"), ("in", "out")])
def test_half_precision_inputs_and_outputs_are_verified(tmp_path: Path, given: str, returned: str) -> None:
    module = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    path = convert(
        module,
        torch.zeros(1, 3, 4, 4),
        tmp_path / "theirs.mlpackage",
        inputs=[ct.TensorType(name="photo", shape=(1, 3, 4, 4), dtype=np.float16 if given else np.float32)],
        outputs=[ct.TensorType(name="means", dtype=np.float16 if returned else np.float32)],
    )
    items = [VerificationInput(f"noise {seed}", "noise", noise(1, 3, 4, 4, seed=seed), None) for seed in range(3)]
    with open_session(path, threads=1) as session:
        types = [session.inputs[0].dtype, session.outputs[0].dtype]
        assert types == ["float16" if each else "float32" for each in (given, returned)]
        for sign, status in ((1, "passed"), (-1, "failed")):
            parity = verify_session(session, lambda x, by=sign: [by * x.mean((2, 3))], items, GATES["fp16"])
            assert parity.status == status


def test_an_array_or_no_label_is_not_enough(small_package: Path) -> None:
    with open_session(small_package, threads=1) as session:
        assert session.described is None

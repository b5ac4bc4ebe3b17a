from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from mobilevit_tools import evaluate
from mobilevit_tools.api import evaluate as module
from mobilevit_tools.artifacts.files import describe_artifact
from mobilevit_tools.cli.app import run
from mobilevit_tools.data.contract import METADATA_KEY, Contract
from mobilevit_tools.data.preprocessing import Preprocessing
from mobilevit_tools.errors import BadInputError, GateError
from mobilevit_tools.verification.evaluations import EvalResult

SIDE = 8
COLOURS = {"red": (200, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 200)}


@pytest.fixture(params=[1, 4])
def artifact(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A classifier whose logits are the mean red, green and blue of an image, with a fixed batch."""
    batch = request.param
    recipe = Preprocessing(input_size=(SIDE, SIDE), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    contract = Contract(model="care_s0", preprocessing=recipe, labels=tuple(COLOURS))
    graph = helper.make_graph(
        [helper.make_node("ReduceMean", ["image", "axes"], ["logits"], keepdims=0)],
        "colour",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, 3])],
        [numpy_helper.from_array(np.array([2, 3]), "axes")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    helper.set_model_props(model, {METADATA_KEY: contract.to_json()})
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three photos a class; one of the blue ones is green, one red one is broken."""
    root = tmp_path / "photos"
    for label, colour in COLOURS.items():
        (root / label).mkdir(parents=True)
        for index in range(3):
            shown = COLOURS["green"] if (label, index) == ("blue", 0) else colour
            Image.new("RGB", (13 + index, 9), shown).save(root / label / f"{index}.png")
    (root / "red" / "1.png").write_bytes(b"no image")
    return root


def test_accuracy_counts_every_readable_photo_once(artifact: Path, photos: Path) -> None:
    result = evaluate(artifact, photos, reference=False)
    assert result.images == 8
    assert result.top1 == 7 / 8
    assert result.interval[0] < 7 / 8 < result.interval[1]
    assert result.top5 == 1.0
    assert result.agreement is None
    assert [entry.image for entry in result.unreadable] == [photos / "red" / "1.png"]
    assert [(each.label, each.correct, each.images) for each in result.classes] == [
        ("red", 2, 2),
        ("green", 3, 3),
        ("blue", 2, 3),
    ]
    assert result.sha256 == describe_artifact(artifact).sha256
    (mistake,) = result.confusions
    assert (mistake.truth, mistake.predicted, mistake.count) == ("blue", "green", 1)


def test_the_command_says_the_same_and_names_what_it_could_not_read(
    artifact: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["eval", str(artifact), str(photos), "--no-reference"]) == 0
    printed = capsys.readouterr().out
    assert "87.50%" in printed
    assert "1 x blue taken for green" in printed
    assert "1.png" in printed


def test_outputs_that_are_not_finite_fail(artifact: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = onnx.load(artifact)
    (mean,) = model.graph.node
    mean.output[0] = "means"
    model.graph.node.append(helper.make_node("Log", ["means"], ["logits"]))
    onnx.save(model, artifact)
    with pytest.raises(GateError, match="non-finite values for 8 of 8 photos") as failure:
        evaluate(artifact, photos, reference=False)
    assert isinstance(failure.value.result, EvalResult)
    assert failure.value.result.non_finite == 8
    assert run(["eval", str(artifact), str(photos), "--no-reference"]) == 4
    printed = capsys.readouterr()
    assert "not finite: the outputs of 8 photos" in printed.out
    assert "top-1" in printed.out


def test_mistakes_are_bounded(artifact: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (9, 9), COLOURS["red"]).save(photos / "green" / "3.png")
    assert len(evaluate(artifact, photos, reference=False).confusions) == 2
    monkeypatch.setattr(module, "MAX_CONFUSIONS", 1)
    assert len(evaluate(artifact, photos, reference=False).confusions) == 1


def test_labels_that_are_not_the_artifacts_are_refused(artifact: Path, photos: Path) -> None:
    (photos / "blue").rename(photos / "violet")
    (photos / "labels.txt").write_text("red red\ngreen green\nviolet violet\n")
    with pytest.raises(BadInputError, match="'violet'"):
        evaluate(artifact, photos, reference=False)


def test_photos_that_cannot_be_read_at_all_are_refused(artifact: Path, photos: Path) -> None:
    for path in photos.rglob("*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(BadInputError, match="None of the 9 photos"):
        evaluate(artifact, photos, reference=False)


def test_labels_that_are_not_as_many_as_the_outputs_are_refused(artifact: Path, photos: Path) -> None:
    model = onnx.load(artifact)
    (stored,) = model.metadata_props
    stored.value = replace(Contract.from_json(stored.value), labels=(*COLOURS, "grey")).to_json()
    onnx.save(model, artifact)
    with pytest.raises(BadInputError, match="names 4 classes, and its output has 3"):
        evaluate(artifact, photos, reference=False)


def test_an_output_that_is_narrower_than_the_artifact_declares_is_refused(artifact: Path, photos: Path) -> None:
    model = onnx.load(artifact)
    (mean,) = model.graph.node
    mean.output[0] = "means"
    # Not before it runs does a runtime know how many Compress leaves.
    model.graph.initializer.append(numpy_helper.from_array(np.ones(3, np.bool_), "all"))
    model.graph.node.append(helper.make_node("Compress", ["means", "all"], ["logits"], axis=1))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 4
    (stored,) = model.metadata_props
    stored.value = replace(Contract.from_json(stored.value), labels=None).to_json()
    onnx.save(model, artifact)
    (photos / "violet").mkdir()
    Image.new("RGB", (9, 9)).save(photos / "violet" / "0.png")
    with pytest.raises(BadInputError, match="of 4 classes, and the artifact's output has 3"):
        evaluate(artifact, photos, reference=False)


@pytest.fixture
def reference(tmp_path: Path) -> Callable[[str], tuple[str, Path]]:
    """Write a model that returns what an expression says of the means ``x`` of an image, and its weights."""

    def write(returned: str) -> tuple[str, Path]:
        (tmp_path / "net.py").write_text(
            "import torch\n\n"
            "class Net(torch.nn.Module):\n"
            "    def __init__(self):\n"
            "        super().__init__()\n"
            "        self.scale = torch.nn.Parameter(torch.ones(1))\n"
            "    def forward(self, image):\n"
            "        x = self.scale * image.mean((2, 3))\n"
            f"        return {returned}\n\n"
            "def build():\n"
            "    return Net()\n"
        )
        torch.save({"scale": torch.ones(1)}, tmp_path / "net.pth")
        return f"{tmp_path / 'net.py'}:build", tmp_path / "net.pth"

    return write


def test_the_model_itself_agrees(artifact: Path, photos: Path, reference: Callable[[str], tuple[str, Path]]) -> None:
    model, checkpoint = reference("x")
    result = evaluate(artifact, photos, model=model, checkpoint=checkpoint)
    assert (result.agreement, result.reference_top1) == (1.0, 7 / 8)


@pytest.mark.parametrize(
    ("returned", "said"),
    [("x[:, :2]", "has 2 classes"), ("torch.cat([x, x], 1)", "has 6 classes"), ("[image, image]", "returns maps")],
)
def test_a_model_that_cannot_agree_is_refused(
    artifact: Path, photos: Path, reference: Callable[[str], tuple[str, Path]], returned: str, said: str
) -> None:
    model, checkpoint = reference(returned)
    with pytest.raises(BadInputError, match=f"build {said}") as refusal:
        evaluate(artifact, photos, model=model, checkpoint=checkpoint)
    assert refusal.value.error_code == "class_count"


def dozen(path: Path, order: list[int], *, blind: bool = False) -> Path:
    """Write a classifier of twelve shades of grey whose output k is shade ``order[k]``; a blind one sees nothing."""
    shades = np.linspace(-1, 1, 12)[order].astype(np.float32)
    recipe = Preprocessing(input_size=(SIDE, SIDE), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    weight = np.tile(2 * shades / 3, (3, 1)) * (not blind)
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["image", "axes"], ["means"], keepdims=0),
            helper.make_node("Gemm", ["means", "weight", "bias"], ["logits"]),  # -(mean - shade)^2 but for mean^2
        ],
        "shades",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 12])],
        [
            numpy_helper.from_array(np.array([2, 3]), "axes"),
            numpy_helper.from_array(weight.astype(np.float32), "weight"),
            numpy_helper.from_array(-(shades**2), "bias"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    helper.set_model_props(model, {METADATA_KEY: Contract(model="shades", preprocessing=recipe).to_json()})
    onnx.save(model, path)
    return path


@pytest.fixture
def numbered(tmp_path: Path) -> Path:
    """Twelve folders 0 to 11, one photo in each, of a shade by number."""
    for index in range(12):
        (tmp_path / "numbered" / str(index)).mkdir(parents=True)
        level = round(255 * index / 11)
        Image.new("RGB", (9, 9), (level, level, level)).save(tmp_path / "numbered" / str(index) / "photo.png")
    return tmp_path / "numbered"


AS_TEXT = [int(name) for name in sorted(map(str, range(12)))]


@pytest.mark.parametrize(("trained", "said"), [(list(range(12)), "class indices"), (AS_TEXT, "torchvision")])
def test_numbers_are_read_as_the_model_was_trained(
    tmp_path: Path, numbered: Path, trained: list[int], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    artifact = dozen(tmp_path / "model.onnx", trained)
    result = evaluate(artifact, numbered, reference=False)
    assert result.top1 == 1.0
    assert said in result.label_rule
    assert "12 of 12 right" in result.label_rule
    assert all(each.correct == each.images for each in result.classes)
    assert run(["eval", str(artifact), str(numbered), "--no-reference"]) == 0
    assert said in capsys.readouterr().out
    other = {"class indices": "text", "torchvision": "index"}[said]
    assert evaluate(artifact, numbered, reference=False, class_order=other).top1 == pytest.approx(2 / 12)


def test_where_predictions_confirm_no_reading_it_must_be_said(
    tmp_path: Path, numbered: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    artifact = dozen(tmp_path / "model.onnx", AS_TEXT, blind=True)
    with pytest.raises(BadInputError, match="in more than one order") as refusal:
        evaluate(artifact, numbered, reference=False)
    assert refusal.value.error_code == "ambiguous_order"
    assert "--class-order (index, text)" in str(refusal.value.hint)
    command = ["eval", str(artifact), str(numbered), "--no-reference", "--class-order"]
    assert (run([*command, "text"]), run([*command, "index"]), run([*command, "sorted"])) == (0, 0, 2)
    assert "12 photos" in capsys.readouterr().out


def test_readings_that_agree_on_these_photos_need_no_choice(tmp_path: Path, numbered: Path) -> None:
    for index in range(2, 12):
        (numbered / str(index) / "photo.png").unlink()
    result = evaluate(dozen(tmp_path / "model.onnx", AS_TEXT), numbered, reference=False)
    assert (result.images, result.top1) == (2, 1.0)


def test_accuracy_of_one_output_is_refused(artifact: Path, photos: Path) -> None:
    model = onnx.load(artifact)
    (axes,) = model.graph.initializer
    axes.CopyFrom(numpy_helper.from_array(np.array([1]), "axes"))
    model.graph.node[0].output[0] = "maps"
    model.graph.node.append(helper.make_node("ReduceMean", ["maps", "sides"], ["pooled"], keepdims=0))
    model.graph.node.append(helper.make_node("Unsqueeze", ["pooled", "axes"], ["logits"]))
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 2]), "sides"))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 1
    (stored,) = model.metadata_props
    stored.value = replace(Contract.from_json(stored.value), labels=None).to_json()
    onnx.save(model, artifact)
    with pytest.raises(BadInputError, match="gives one number for a photo") as refusal:
        evaluate(artifact, photos, reference=False)
    assert refusal.value.error_code == "single_output"

"""What a custom model returns is told by its card, its options or itself, and every target exports it as that."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import mobilevit_tools
from mobilevit_tools.data.bundled import verification_photos
from mobilevit_tools.errors import BadInputError
from mobilevit_tools.models.factory import load_model

SOURCE = """
from torch import nn


class Net(nn.Module):
    def __init__(self, num_classes, outputs):
        super().__init__()
        if num_classes is not None:
            self.num_classes = num_classes
        self.stem, self.head = nn.Conv2d(3, 4, 8, 8), nn.Linear(4, outputs)

    def forward(self, x):
        return self.head(self.stem(x).mean((2, 3)))


def counted(classes=0):
    return Net(classes, 6), {"input_size": (16, 16)}


def normalised():
    return nn.Sequential(nn.BatchNorm2d(3), Net(0, 6)), {"input_size": (16, 16)}


def headed():
    return nn.Sequential(Net(0, 6), nn.Linear(6, 5)), {"input_size": (16, 16)}


def optional(num_classes=5):
    return Net(None, num_classes or 6), {"input_size": (16, 16)}


def stated(output="embedding", classes=None):
    return Net(classes, 6), {"input_size": (16, 16), "output": output}


def single():
    return Net(1, 1), {"input_size": (16, 16)}
"""


@pytest.fixture
def net(tmp_path: Path) -> Path:
    path = tmp_path / "net.py"
    path.write_text(SOURCE)
    return path


@pytest.mark.parametrize(
    ("function", "options", "returns", "classes"),
    [
        ("counted", {}, "embedding", 0),
        ("counted", {"classes": 6}, "logits", 6),
        ("counted", {"classes": False}, "logits", 6),
        ("normalised", {}, "embedding", 0),
        ("headed", {}, "logits", 5),
        ("optional", {}, "logits", 5),
        ("optional", {"num_classes": 0}, "embedding", 0),
        ("stated", {}, "embedding", 0),
        ("stated", {"output": "logits", "classes": 0}, "logits", 6),
        ("single", {}, "logits", 1),
    ],
)
def test_a_vector_is_logits_unless_something_says_that_there_are_no_classes(
    net: Path, function: str, options: dict[str, object], returns: str, classes: int
) -> None:
    loaded = load_model(f"{net}:{function}", random_weights=True, options=options)
    assert (loaded.returns, loaded.num_classes, loaded.outputs) == (returns, classes, 1)


def test_an_embedding_has_neither_labels_nor_a_class_count(net: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="an output that is an embedding, not one of logits"):
        load_model(f"{net}:counted", random_weights=True, num_classes=6)
    with pytest.raises(BadInputError, match="an output that is an embedding, not one of logits"):
        mobilevit_tools.export(
            f"{net}:counted", targets="onnx", random_weights=True, labels=list("abcdef"), output=tmp_path / "out"
        )


def test_every_target_gives_an_embedding_and_a_single_output_as_they_are(net: Path, tmp_path: Path) -> None:
    photo = verification_photos()[0]
    values = []
    for target in ("onnx", "coreml", "executorch"):
        for function, name in (("counted", "embedding"), ("single", "logits")):
            (artifact,) = mobilevit_tools.export(
                f"{net}:{function}", targets=target, random_weights=True, bundle=True, output=tmp_path / target
            ).artifacts
            assert artifact.parity.status == "passed"
            assert artifact.bundle is not None
            golden = json.loads((artifact.bundle / "golden.json").read_text())
            (output,) = golden["outputs"]
            assert (output["holds"], golden["top1"]) == (name, None)
            if function == "counted":
                result = mobilevit_tools.predict(artifact.path, [photo])
                assert (result.task, result.predictions[0].neighbours) == ("embed", ())
                continue
            (guess,) = mobilevit_tools.predict(artifact.path, [photo]).predictions[0].top
            assert guess.probability is None
            values.append(guess.value)
    # A softmax would give 1.0 everywhere.
    assert values == pytest.approx([values[0]] * 3, rel=1e-4)
    assert values[0] != pytest.approx(1.0, abs=1e-3)

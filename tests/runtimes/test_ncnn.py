from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("ncnn", reason="the `ncnn` extra is not installed; make test-targets")

import mobilevit_tools
from mobilevit_tools.data.bundled import verification_photos
from mobilevit_tools.errors import BadInputError
from mobilevit_tools.runtimes.ncnn_files import Signature, rename_blobs
from mobilevit_tools.runtimes.registry import open_session
from tests.optional import artifact

pytestmark = pytest.mark.targets


def test_what_it_tells() -> None:
    with open_session(artifact("ncnn")) as session:
        assert [(each.name, each.shape, each.dtype) for each in session.inputs] == [
            ("image", (1, 3, 16, 16), "float32")
        ]
        assert [(each.name, each.shape, each.dtype) for each in session.outputs] == [("logits", (1, 3), "float32")]
        assert session.contract is not None
        assert session.operators()["Convolution"] == 1
        assert not {"Input", "Split"} & set(session.operators())
        assert [note for note in session.notes if note.endswith("use_fp16_arithmetic off.")]


def test_it_runs_the_same_each_time_and_refuses_another_size() -> None:
    with open_session(artifact("ncnn")) as session:
        with pytest.raises(BadInputError, match="takes 1x3x16x16, not 1x3x8x16"):
            session.run(np.zeros((1, 3, 8, 16), np.float32))
        array = np.ones((1, 3, 16, 16), np.float32)
        once = session.run(array)[0]
        session.prepare(-array)()
        np.testing.assert_array_equal(session.run(array)[0], once)
        assert not np.array_equal(session.run(-array)[0], once)


def test_half_precision_is_ncnns_default() -> None:
    array = np.ones((1, 3, 16, 16), np.float32)
    with open_session(artifact("ncnn", "fp16")) as half, open_session(artifact("ncnn")) as whole:
        assert [note for note in half.notes if note.endswith("use_fp16_arithmetic on.")]
        assert not np.array_equal(half.run(array)[0], whole.run(array)[0])


class _Maps(nn.Module):
    """Two outputs, of an odd size: ncnn pads each channel to a multiple of 16 bytes.

    Where nothing but arithmetic reads the image, pnnx takes its batch for an axis, and slices the next one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.same = nn.Conv2d(3, 3, 1, bias=False)
        nn.init.dirac_(self.same.weight)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.same(x)
        return x + 1, x[:, :2] * 2


def test_several_outputs_of_an_odd_size(tmp_path: Path) -> None:
    made = mobilevit_tools.export(
        _Maps(), name="maps", targets="ncnn", output=tmp_path, task="raw", input_size=(15, 15), mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
    )  # fmt: skip
    array = np.random.default_rng(0).standard_normal((1, 3, 15, 15)).astype(np.float32)
    with open_session(made.artifacts[0].path) as session:
        added, doubled = session.run(array)
    np.testing.assert_allclose(added, array + 1, rtol=1e-6)
    np.testing.assert_allclose(doubled, array[:, :2] * 2, rtol=1e-6)


def test_predict_knows_the_labels() -> None:
    (prediction,) = mobilevit_tools.predict(artifact("ncnn"), [verification_photos()[0]]).predictions
    assert {each.label for each in prediction.top} == {"cat", "dog", "horse"}


def test_profile_measures_it_on_this_host() -> None:
    profile = mobilevit_tools.profile(artifact("ncnn"), rigor="quick")
    assert (profile.device, profile.threads) == ("host", 1)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("model.param", ""),
        ("model.param", "7767517\n1 1\nInput in0 0 9 image"),
        ("model.param", "7767517\n2 2\nInput in0 0 1 image\ntorch.unbind u 1 1 image logits\n"),
        ("model.bin", ""),
        ("signature.json", "{"),
        ("contract.json", "{"),
    ],
)
def test_a_damaged_artifact_is_bad_input(tmp_path: Path, file: str, content: str) -> None:
    path = Path(shutil.copytree(artifact("ncnn"), tmp_path / "model.ncnn"))
    (path / file).write_text(content)
    with pytest.raises(BadInputError):
        open_session(path)


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ([1, 3, 60000, 60000], [1, 3]),
        ([1, 3, -16, 16], [1, 3]),
        ([1, 3, 0, 16], [1, 3]),
        ([2, 3, 16, 16], [1, 3]),
        ([], [1, 3]),
        ([1, 3, 16, 16], [-1, 3]),
        ([1, 3, 16, 16], [1, 2**62]),
    ],
)
def test_impossible_shapes_are_refused(tmp_path: Path, inputs: list[int], outputs: list[int]) -> None:
    signature = {"inputs": {"image": inputs}, "outputs": {"logits": outputs}, "fp16": False}
    (tmp_path / "signature.json").write_text(json.dumps(signature))
    with pytest.raises(BadInputError, match=r"impossible shape of (image|logits)"):
        Signature.read(tmp_path)


@pytest.mark.parametrize("file", ["model.param", "model.bin", "signature.json"])
def test_an_artifact_without_one_of_its_files_is_bad_input(tmp_path: Path, file: str) -> None:
    path = Path(shutil.copytree(artifact("ncnn"), tmp_path / "model.ncnn"))
    (path / file).unlink()
    with pytest.raises(BadInputError):
        open_session(path)


def test_only_blobs_are_renamed() -> None:
    text = "7767517\n2 2\nInput in0 0 1 in0 0=1\nReLU out0 1 1 in0 out0 0=0\n"
    assert rename_blobs(text, {"in0": "image", "out0": "logits"}) == (
        "7767517\n2 2\nInput in0 0 1 image 0=1\nReLU out0 1 1 image logits 0=0\n"
    )

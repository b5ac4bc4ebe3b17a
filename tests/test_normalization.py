"""A fine-tuned model that is exported by name has the normalisation that it was trained with, in every later step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import mobilevit_tools
from mobilevit_tools.artifacts.manifest import read_manifest
from mobilevit_tools.errors import UsageError
from mobilevit_tools.normalization import channels_text, parse_channels

SOURCE = """\
from torch import nn


def build():
    return nn.Sequential(nn.Conv2d(3, 4, 8, stride=8), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
"""
MEAN, STD = (0.1, 0.2, 0.3), (0.9, 0.8, 0.7)


def test_one_number_is_for_all_channels_and_texts_read_back() -> None:
    assert parse_channels("0.5", "mean") == (0.5, 0.5, 0.5)
    assert parse_channels(channels_text(MEAN), "mean") == MEAN
    assert parse_channels(None, "mean") is None


@pytest.mark.parametrize("text", ["", "a", "0.5,0.5", "0.5,0.5,0.5,0.5", "nan", "123.675,116.28,103.53", "-0.1"])
def test_what_is_no_mean_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not a mean of pixels from 0 to 1"):
        parse_channels(text, "mean")


@pytest.mark.parametrize("value", [0.5, "half", (None, 1, 1)])
def test_what_is_no_sequence_of_numbers_is_refused(value: Any) -> None:
    with pytest.raises(UsageError, match="three numbers"):
        channels_text(value)


@pytest.mark.parametrize("target", ["onnx", "coreml"])
def test_a_named_model_takes_them_and_is_verified_with_them(tmp_path: Path, target: str) -> None:
    """A Core ML package normalises by itself: verified with the model's own mean, it would fail."""
    (tmp_path / "net.py").write_text(SOURCE)
    name = f"{tmp_path}/net.py:build"
    made = mobilevit_tools.export(
        name, targets=target, random_weights=True, input_size=(32, 32), mean=MEAN, std=STD, output=tmp_path / "out"
    ).artifacts[0]
    manifest = read_manifest(made.manifest)
    recipe = manifest.contract.preprocessing
    assert (recipe.mean, recipe.std) == (MEAN, STD)
    assert "--mean 0.1,0.2,0.3 --std 0.9,0.8,0.7" in manifest.request.command
    assert mobilevit_tools.verify(made.path, model=name).parity.status == "passed"

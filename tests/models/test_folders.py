"""Sharded weights and Hugging Face folders are one checkpoint, and no name in them leads anywhere else."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from mobilevit_tools.errors import BadInputError
from mobilevit_tools.models import checkpoint as module_under_test
from mobilevit_tools.models import folders
from mobilevit_tools.models.checkpoint import read_checkpoint

FIRST = {"a.weight": torch.arange(6.0)}
SECOND = {"b.weight": torch.arange(3.0), "b.bias": torch.ones(1)}
NAMES = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def write_index(folder: Path, mapped: dict[str, object], name: str = "model.safetensors.index.json") -> Path:
    path = folder / name
    path.write_text(json.dumps({"metadata": {"total_size": 40}, "weight_map": mapped}))
    return path


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    folder = tmp_path / "their model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    for name, tensors in zip(NAMES, (FIRST, SECOND), strict=True):
        save_file(tensors, folder / name)
    write_index(folder, dict.fromkeys(FIRST, NAMES[0]) | dict.fromkeys(SECOND, NAMES[1]))
    return folder


def same(left: object, right: dict[str, Tensor]) -> bool:
    return isinstance(left, dict) and left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in right)


def test_shards_are_read_from_their_index_or_their_folder(sharded: Path) -> None:
    one = read_checkpoint(str(sharded))
    assert same(one.state_dict, FIRST | SECOND)
    two = read_checkpoint(str(sharded / "model.safetensors.index.json"))
    assert same(two.state_dict, FIRST | SECOND)
    assert one.sha256 == two.sha256
    save_file({"a.weight": torch.zeros(6)}, sharded / NAMES[0])
    assert read_checkpoint(str(sharded)).sha256 != one.sha256
    with pytest.raises(BadInputError, match="no moving average"):
        read_checkpoint(str(sharded), ema=True)


def test_a_whole_file_is_preferred_and_old_names_are_known(sharded: Path) -> None:
    torch.save(SECOND, sharded / "pytorch_model.bin")
    assert same(read_checkpoint(str(sharded)).state_dict, FIRST | SECOND)
    save_file(FIRST, sharded / "model.safetensors")
    assert same(read_checkpoint(str(sharded)).state_dict, FIRST)
    (sharded / "model.safetensors").unlink()
    (sharded / "model.safetensors.index.json").unlink()
    assert same(read_checkpoint(str(sharded)).state_dict, SECOND)
    (sharded / "pytorch_model.bin").unlink()
    torch.save(SECOND, sharded / "pytorch_model-1.bin")
    write_index(sharded, dict.fromkeys(SECOND, "pytorch_model-1.bin"), "pytorch_model.bin.index.json")
    assert same(read_checkpoint(str(sharded)).state_dict, SECOND)


@pytest.mark.parametrize(
    "name", ["../secret.safetensors", "/etc/passwd", "sub/x.safetensors", "..", "", "..\\x", "link"]
)
def test_no_name_leads_out_of_the_folder(sharded: Path, name: str) -> None:
    save_file(FIRST, sharded.parent / "secret.safetensors")
    (sharded / "sub").mkdir()
    save_file(FIRST, sharded / "sub" / "x.safetensors")
    (sharded / "link").symlink_to("../secret.safetensors")
    write_index(sharded, dict.fromkeys(FIRST, name))
    with pytest.raises(BadInputError, match="is not in that folder") as refusal:
        read_checkpoint(str(sharded))
    assert refusal.value.error_code == "path_escapes"


def test_a_weights_file_that_is_a_link_elsewhere_is_refused_except_in_the_hubs_cache(tmp_path: Path) -> None:
    snapshot, blobs = tmp_path / "snapshots" / "0a1b", tmp_path / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    save_file(FIRST, blobs / "digest")
    (snapshot / "model.safetensors").symlink_to("../../blobs/digest")
    assert same(read_checkpoint(str(snapshot)).state_dict, FIRST)
    plain = tmp_path / "model"
    plain.mkdir()
    (plain / "model.safetensors").symlink_to("../blobs/digest")
    with pytest.raises(BadInputError, match="is not in that folder"):
        read_checkpoint(str(plain))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"weight_map": ', "is not JSON"),
        ('{"weight_map": []}', "without shards"),
        ('{"weight_map": {}}', "without shards"),
        ('{"weight_map": {"a": 3}}', "without shards"),
        ("[" * 100_000 + '"weight_map"', "is a text file"),
        ('{"weight_map": ' + '{"a":' * 100_000, "is nested too deeply"),
        (json.dumps({"weight_map": {str(i): f"{i}.bin" for i in range(1001)}}), "names more than 1000 files"),
        ('{"weight_map": {"a": "absent.safetensors"}}', "There is no checkpoint at .*absent.safetensors"),
        (json.dumps({"weight_map": {"c.weight": NAMES[0]}}), r"lacks c\.weight, which .* lists"),
    ],
)
def test_a_damaged_index_is_refused(sharded: Path, content: str, message: str) -> None:
    (sharded / "model.safetensors.index.json").write_text(content)
    with pytest.raises(BadInputError, match=message):
        read_checkpoint(str(sharded))


def test_all_shards_together_are_bounded(sharded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    largest = max(path.stat().st_size for path in sharded.iterdir())
    monkeypatch.setattr(module_under_test, "MAX_BYTES", largest)
    with pytest.raises(BadInputError, match="is larger than"):
        read_checkpoint(str(sharded))
    monkeypatch.setattr(folders, "SHARD_INDEX", replace(folders.SHARD_INDEX, max_bytes=10))
    with pytest.raises(BadInputError, match="too large for a shard index: over 10 bytes"):
        read_checkpoint(str(sharded))


def test_shards_on_the_hub_are_fetched_beside_their_index(sharded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def download(address: str) -> Path:
        asked.append(address)
        return sharded / address.rpartition("/")[2]

    monkeypatch.setattr(module_under_test.hub, "download", download)
    root = "hf://someone/net@main"
    assert same(read_checkpoint(f"{root}/model.safetensors.index.json").state_dict, FIRST | SECOND)
    assert asked == [f"{root}/model.safetensors.index.json", *(f"{root}/{name}" for name in NAMES)]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("adapter_model.safetensors", "is a folder with adapter weights only"),
        ("tf_model.h5", "is a folder with TensorFlow weights only"),
        ("epoch=3.ckpt", "is a folder, not a checkpoint"),
    ],
)
def test_other_folders_are_called_what_they_are(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(BadInputError, match=message) as refusal:
        read_checkpoint(str(tmp_path))
    assert name.startswith(("adapter", "tf")) or refusal.value.hint == f"Give the file inside it: {name}."

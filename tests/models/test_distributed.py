"""Distributed checkpoints are read without running their pickle, part by part, and not out of their folder."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint.metadata import ChunkStorageMetadata, Metadata, MetadataIndex

from mobilevit_tools.errors import BadInputError
from mobilevit_tools.models import checkpoint as module_under_test
from mobilevit_tools.models.checkpoint import read_checkpoint

WEIGHTS = {"a.weight": torch.arange(12.0).reshape(4, 3), "a.bias": torch.ones(4).half(), "n": torch.tensor(7)}

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")


def save(folder: Path, content: dict[str, object]) -> Path:
    dcp.save(content, checkpoint_id=folder, no_dist=True)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save(tmp_path / "step_10", {"model": WEIGHTS, "epoch": 3})


def edited(folder: Path, edit: Callable[[Metadata], object]) -> Path:
    """Change the index as torch itself reads it."""
    index = folder / ".metadata"
    metadata = pickle.loads(index.read_bytes())
    edit(metadata)
    index.write_bytes(pickle.dumps(metadata))
    return folder


def same(found: object, wanted: dict[str, Tensor]) -> bool:
    if not isinstance(found, dict) or found.keys() != wanted.keys():
        return False
    return all(torch.equal(found[key], wanted[key]) for key in wanted)


@pytest.mark.parametrize("by_file", [False, True])
def test_the_weights_are_read_from_the_folder_or_one_of_its_files(folder: Path, by_file: bool) -> None:
    read = read_checkpoint(str(next(folder.glob("*.distcp")) if by_file else folder))
    assert same(read.state_dict, WEIGHTS)
    assert read.state_dict["a.bias"].dtype == torch.float16
    assert len(read.sha256) == 64


def test_a_flat_state_dict_an_average_and_an_optimizer(tmp_path: Path) -> None:
    assert same(read_checkpoint(str(save(tmp_path / "flat", WEIGHTS))).state_dict, WEIGHTS)
    model = nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    average = {key: torch.zeros_like(tensor) for key, tensor in model.state_dict().items()}
    both = {"model": model.state_dict(), "model_ema": average, "optimizer": optimizer.state_dict()}
    both = save(tmp_path / "both", both)
    assert same(read_checkpoint(str(both)).state_dict, average)
    assert same(read_checkpoint(str(both), ema=False).state_dict, dict(model.state_dict()))


def test_a_tensor_in_parts_is_put_together(folder: Path) -> None:
    half = WEIGHTS["a.weight"][2:]
    other = save(folder.parent / "half", {"model": {"a.weight": half}})
    (other / "__0_0.distcp").rename(folder / "__1_0.distcp")
    first = save(folder.parent / "first", {"model": {"a.weight": WEIGHTS["a.weight"][:2]}})
    (first / "__0_0.distcp").rename(folder / "__2_0.distcp")

    def split(metadata: Metadata) -> None:
        described = metadata.state_dict_metadata["model.a.weight"]
        described.chunks = [ChunkStorageMetadata(torch.Size([row, 0]), torch.Size([2, 3])) for row in (0, 2)]
        found = next(key for key in metadata.storage_data if key.fqn == "model.a.weight")
        metadata.storage_data.pop(found)
        for row, (place, name) in ((0, (first, "__2_0.distcp")), (2, (other, "__1_0.distcp"))):
            stored = pickle.loads((place / ".metadata").read_bytes()).storage_data
            info = next(value for key, value in stored.items() if key.fqn == "model.a.weight")
            info.relative_path = name
            metadata.storage_data[MetadataIndex("model.a.weight", torch.Size([row, 0]))] = info

    assert same(read_checkpoint(str(edited(folder, split))).state_dict, WEIGHTS)
    edited(folder, lambda metadata: metadata.storage_data.pop(list(metadata.storage_data)[-1]))
    with pytest.raises(BadInputError, match="parts of it are missing"):
        read_checkpoint(str(folder))


class Live:
    """Unpickling one creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_an_index_that_wants_to_run_code_is_refused_and_does_not(folder: Path) -> None:
    planted = folder.parent / "planted"
    index = folder / ".metadata"
    metadata = pickle.loads(index.read_bytes())
    metadata.planner_data = Live(planted)
    content = pickle.dumps(metadata)
    index.write_bytes(content)
    with pytest.raises(BadInputError, match=r"would execute pathlib\.Path\.touch; it was not executed") as refusal:
        read_checkpoint(str(folder))
    assert refusal.value.error_code == "unsafe_checkpoint"
    assert not planted.exists()
    pickle.loads(content)
    assert planted.exists()  # so this index really was live


def place_all(**changed: object) -> Callable[[Metadata], None]:
    def edit(metadata: Metadata) -> None:
        for info in metadata.storage_data.values():
            vars(info).update(changed)

    return edit


def larger(metadata: Metadata) -> None:
    metadata.state_dict_metadata["model.a.weight"].size = torch.Size([10**6, 10**6])


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (place_all(relative_path="../secret.distcp"), "is not in that folder"),
        (place_all(relative_path="absent.distcp"), "There is no checkpoint at .*absent"),
        (place_all(offset=10), "damaged|truncated|not in a known"),
        (place_all(length=10), "damaged|truncated|not in a known"),
        (place_all(transform_descriptors=["zstd"]), "its files are compressed"),
        (larger, "declares more data than its files contain"),
        (lambda metadata: metadata.storage_data.clear(), "cannot be read"),
        (lambda metadata: vars(metadata).pop("storage_data"), "cannot be read"),
        (lambda metadata: vars(metadata).update(state_dict_metadata=3), "cannot be read"),
    ],
)
def test_a_damaged_index_is_refused(folder: Path, edit: Callable[[Metadata], object], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        read_checkpoint(str(edited(folder, edit)))


def test_garbled_indices_never_end_in_another_error(folder: Path) -> None:
    index = folder / ".metadata"
    content = index.read_bytes()
    for position in range(0, len(content), 3):
        index.write_bytes(content[:position] + bytes([content[position] ^ 0x15]) + content[position + 1 :])
        try:
            read_checkpoint(str(folder))
        except BadInputError as error:
            assert "\n" not in error.message  # noqa: PT017
    index.write_bytes(content[:100])
    with pytest.raises(BadInputError, match="cannot be read") as refusal:
        read_checkpoint(str(folder))
    assert "dcp_to_torch" in (refusal.value.hint or "")


def test_its_files_are_bounded_together(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module_under_test, "MAX_BYTES", (folder / "__0_0.distcp").stat().st_size)
    with pytest.raises(BadInputError, match="is larger than"):
        read_checkpoint(str(folder))

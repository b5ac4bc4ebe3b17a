"""Checkpoints of several files: Hugging Face folders and sharded weights; other folders are called what they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mobilevit_tools.documents import DocumentKind, parse
from mobilevit_tools.errors import BadInputError

SHARD_INDEX = DocumentKind(
    "a shard index", "damaged_checkpoint", "Download the checkpoint again.", max_bytes=32 * 1024**2
)
MAX_SHARDS = 1000
_WHOLE = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.safetensors.index.json",
)
"""What Hugging Face's libraries call a model's weights, the better first."""

_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".tar")
_OTHER_FILES = {
    "adapter_model.safetensors": "adapter weights only; merge them into the model with merge_and_unload()",
    "tf_model.h5": "TensorFlow weights only; load them with from_tf=True and save them again",
    "flax_model.msgpack": "Flax weights only; load them with from_flax=True and save them again",
}


def checkpoint_in(folder: Path) -> Path:
    """Return the file in a folder that holds its weights, or the index of those that do.

    Raises:
        BadInputError: There is none, or one that leads out of the folder.
    """
    names = sorted(entry.name for entry in folder.iterdir())
    for name in _WHOLE:
        if name in names:
            return inside(folder, name)
    other = next((what for name, what in _OTHER_FILES.items() if name in names), None)
    if other is not None:
        raise BadInputError(f"{folder} is a folder with {other}.", code="not_a_checkpoint")
    candidates = [name for name in names if name.endswith(_SUFFIXES)]
    hint = f"Give the file inside it: {', '.join(candidates[:5])}." if candidates else "Give the file inside it."
    raise BadInputError(f"{folder} is a folder, not a checkpoint.", hint=hint, code="not_a_checkpoint")


def inside(folder: Path, name: str) -> Path:
    """Return the path of a file in a folder.

    Links may lead to the folder itself, and to where the Hugging Face cache keeps what its snapshots link to.

    Raises:
        BadInputError: The name, or the link that it is, leads elsewhere.
    """
    path, home = folder / name, folder.resolve()
    allowed = [home, home.parent.parent / "blobs"] if home.parent.name == "snapshots" else [home]
    plain = name == Path(name).name and name not in ("", ".", "..") and "\\" not in name and "\0" not in name
    if not plain or path.resolve().parent not in allowed:
        raise BadInputError(
            f"{folder} names {name!r}, which is not in that folder.",
            hint="Put the files of the checkpoint in one folder.",
            code="path_escapes",
        )
    return path


def read_index(content: bytes, source: str) -> Mapping[str, str] | None:
    """Return which file holds which tensor, where ``content`` is an index of shards; None where it is none.

    Raises:
        BadInputError: It is one, and damaged or beyond reason.
    """
    if content.lstrip()[:1] != b"{" or b'"weight_map"' not in content:
        return None
    index = parse(content, source, SHARD_INDEX)
    shards = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(shards, dict) or not shards or not all(isinstance(name, str) for name in shards.values()):
        raise BadInputError(f"{source} is a shard index without shards.", code="damaged_checkpoint")
    if len(set(shards.values())) > MAX_SHARDS:
        raise BadInputError(f"{source} names more than {MAX_SHARDS} files.", code="not_a_checkpoint")
    return shards

"""A fine-tuned checkpoint: what a quantized model has learnt, beside the float weights that it learnt from.

The float model stays what it is: it is what artifacts are compared with, in floating point and quantized. Beside its
weights the file holds, under ``learnt.``, those of the rewritten model that is quantized, which only one target in one
precision has a use for; its metadata say which. Where the weights came with the model (a tag, a module in memory),
the file holds no copy of them, and their digest alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mobilevit_tools.errors import BadInputError

if TYPE_CHECKING:
    from torch import Tensor, nn

PREFIX = "learnt."
KEY = "mobilevit_tools.learnt"
"""The entry of the file's metadata that says what it is."""
SCHEMA = 1
_MAX_HEADER = 100_000_000


@dataclass(frozen=True)
class LearntRecord:
    """How a quantized model learnt, for the manifest.

    Attributes:
        deployment: The target, with its backend where it has several.
        precision: The precision.
        steps: How many steps it took.
        photos: How many photos it saw.
        photos_sha256: Digest of their pixels.
        seed: The seed of their order and changes.
        weights_sha256: Digest of the float model's weights.
        weights_inside: Whether the file holds these, too.
        schema: The version of this layout.
    """

    deployment: str
    precision: str
    steps: int
    photos: int
    photos_sha256: str
    seed: int
    weights_sha256: str
    weights_inside: bool
    schema: int = SCHEMA


@dataclass(frozen=True)
class Learnt:
    """What a fine-tuned checkpoint holds.

    Attributes:
        record: How it came about.
        tensors: The rewritten model's parameters and buffers of real numbers, by name.
        source: The file.
    """

    record: LearntRecord
    tensors: Mapping[str, Tensor]
    source: str

    def check(self, module: nn.Module, name: str) -> None:
        """Refuse a float model other than the one that was learnt from.

        Raises:
            BadInputError: Its weights are others.
        """
        if weights_digest(module) != self.record.weights_sha256:
            raise BadInputError(
                f"{self.source} was learnt from other weights than {name} has.",
                hint="Give the model and the options of `mvt finetune`.",
                code="checkpoint_mismatch",
            )

    def fill(self, module: nn.Module) -> None:
        """Copy what was learnt into a rewritten module, in place.

        Raises:
            BadInputError: It is another module than the one that learnt.
        """
        import torch

        own = dict(module.named_parameters())
        places = {name: each for name, each in (*own.items(), *module.named_buffers()) if each.is_floating_point()}
        for name in sorted(own.keys() | self.tensors.keys()):
            if name not in self.tensors or name not in places or self.tensors[name].shape != places[name].shape:
                raise BadInputError(
                    f"{self.source} was learnt by another form of this model: {name} does not fit.",
                    hint="Export with the options of `mvt finetune`, or fine-tune again with this version.",
                    code="checkpoint_mismatch",
                )
        with torch.no_grad():
            for name, tensor in self.tensors.items():
                places[name].copy_(tensor)


def read_learnt(path: Path, source: str | None = None) -> Learnt | None:
    """Read what a fine-tuned checkpoint has learnt; None where a file is none.

    Args:
        path: Any checkpoint.
        source: What errors call it.

    Raises:
        BadInputError: It says that it is one, and is damaged or of another version.
    """
    if not path.is_file() or not _is_safetensors(path):
        return None
    from safetensors import SafetensorError, safe_open

    named = source or str(path)
    try:
        with safe_open(str(path), framework="pt") as file:
            said = (file.metadata() or {}).get(KEY)
            if said is None:
                return None
            keys = [key for key in file.keys() if key.startswith(PREFIX)]  # noqa: SIM118
            tensors = {key.removeprefix(PREFIX): file.get_tensor(key) for key in keys}
    except (SafetensorError, OSError) as error:
        raise BadInputError(f"{named} is damaged: {error}.", code="damaged_checkpoint") from error
    return Learnt(_read_record(said, named), tensors, named)


def learnt_bytes(learnt: Mapping[str, Tensor], weights: Mapping[str, Tensor], record: LearntRecord) -> bytes:
    """Return the content of a fine-tuned checkpoint.

    Args:
        learnt: The rewritten model's parameters and buffers, by name.
        weights: The float weights under their file's own keys; empty where they came with the model.
        record: How it came about.
    """
    from safetensors.torch import save

    tensors = {PREFIX + name: tensor.detach().cpu().contiguous().clone() for name, tensor in learnt.items()}
    tensors |= {name: tensor.detach().cpu().contiguous().clone() for name, tensor in weights.items()}
    return bytes(save(tensors, {KEY: json.dumps(asdict(record), sort_keys=True)}))


def without_learnt(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return a checkpoint's tensors without what a quantized model learnt, which is no weight of the float model."""
    return {key: tensor for key, tensor in tensors.items() if not key.startswith(PREFIX)}


def weights_digest(module: nn.Module) -> str:
    """Return a digest of the values of a module's parameters, whatever wraps it and they are called."""
    values = sorted(
        hashlib.sha256(
            f"{each.dtype} {tuple(each.shape)}\n".encode() + each.detach().cpu().contiguous().numpy().tobytes()
        ).digest()
        for each in module.parameters()
    )
    return hashlib.sha256(b"".join(values)).hexdigest()


def _is_safetensors(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(9)
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= _MAX_HEADER


def _read_record(said: str, source: str) -> LearntRecord:
    from pydantic import TypeAdapter, ValidationError

    try:
        record = TypeAdapter(LearntRecord).validate_json(said)
    except ValidationError as error:
        raise BadInputError(
            f"{source} does not say properly what it learnt: {error.errors()[0]['msg']}.", code="damaged_checkpoint"
        ) from error
    if record.schema != SCHEMA:
        raise BadInputError(
            f"{source} is a fine-tuned checkpoint of schema {record.schema}; this version reads {SCHEMA}.",
            hint="Fine-tune again with this version.",
            code="damaged_checkpoint",
        )
    return record

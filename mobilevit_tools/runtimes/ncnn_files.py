"""The files of an ncnn artifact: the network and its weights as ncnn loads them, and a description beside them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from mobilevit_tools.data.contract import MAX_CONTRACT_BYTES
from mobilevit_tools.errors import BadInputError

PARAM_FILE = "model.param"
WEIGHTS_FILE = "model.bin"
CONTRACT_FILE = "contract.json"
LABELS_FILE = "labels.txt"
SIGNATURE_FILE = "signature.json"
_MOST_BYTES = 64 * 1024 * 1024
_MOST_VALUES = 1 << 28
"""Of one tensor: a gigabyte in float32."""
_HEADER_LINES = 2


@dataclass(frozen=True)
class Signature:
    """What ncnn's own files do not say.

    Attributes:
        inputs: Shapes of the inputs by the names of their blobs, the batch first.
        outputs: The same of the outputs.
        fp16: Whether ncnn's three options on half precision are to be on, as they are by default.
    """

    inputs: Mapping[str, tuple[int, ...]]
    outputs: Mapping[str, tuple[int, ...]]
    fp16: bool

    def to_json(self) -> str:
        """Serialise with a stable order of keys; inputs and outputs keep theirs."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def read(cls, folder: Path) -> Signature | None:
        """Read the signature of an artifact; None where it has none.

        Raises:
            BadInputError: It is damaged, or states shapes of more or less than one image.
        """
        from pydantic import TypeAdapter, ValidationError

        text = read_text(folder / SIGNATURE_FILE, MAX_CONTRACT_BYTES)
        if text is None:
            return None
        try:
            signature = TypeAdapter(cls).validate_json(text)
        except ValidationError as error:
            raise BadInputError(
                f"{folder / SIGNATURE_FILE} cannot be read: {error.errors()[0]['msg']}.", code="unloadable_artifact"
            ) from error
        for name, shape in (*signature.inputs.items(), *signature.outputs.items()):
            one_image = name in signature.outputs or shape[:1] == (1,)
            if not (all(side > 0 for side in shape) and math.prod(shape) <= _MOST_VALUES and one_image):
                raise BadInputError(
                    f"{folder / SIGNATURE_FILE} states an impossible shape of {name}: {'x'.join(map(str, shape))}.",
                    code="unloadable_artifact",
                )
        return signature


@dataclass(frozen=True)
class Layer:
    """One line of a network: its type, its name, and the names of the blobs that it reads and makes."""

    type: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def read_text(path: Path, most_bytes: int) -> str | None:
    """Return a file's text; None where there is no such file.

    Raises:
        BadInputError: It is larger than ``most_bytes``, or no text.
    """
    try:
        if path.stat().st_size > most_bytes:
            raise BadInputError(f"{path} is larger than {most_bytes} bytes.", code="unloadable_artifact")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path} cannot be read.", code="unloadable_artifact") from error


def read_layers(folder: Path) -> tuple[Layer, ...]:
    """Read the layers of an artifact's network.

    Raises:
        BadInputError: It has no network, or a damaged one.
    """
    text = read_text(folder / PARAM_FILE, _MOST_BYTES)
    if text is None:
        raise BadInputError(f"There is no {PARAM_FILE} in {folder}.", code="unloadable_artifact")
    try:
        return tuple(_layer(line.split()) for line in text.splitlines()[_HEADER_LINES:] if line.strip())
    except ValueError as error:
        raise BadInputError(f"{folder / PARAM_FILE} is no network of ncnn.", code="unloadable_artifact") from error


def rename_blobs(text: str, names: Mapping[str, str]) -> str:
    """Return a network with other names of blobs."""
    lines = text.splitlines()
    for place, line in enumerate(lines[_HEADER_LINES:], start=_HEADER_LINES):
        words = line.split()
        layer = _layer(words)
        end = 4 + len(layer.inputs) + len(layer.outputs)
        blobs = [names.get(word, word) for word in words[4:end]]
        lines[place] = " ".join([*words[:4], *blobs, *words[end:]])
    return "\n".join(lines) + "\n"


def _layer(words: list[str]) -> Layer:
    kind, name, reads, makes, *rest = words
    count, end = int(reads), int(reads) + int(makes)
    if not 0 <= count <= end <= len(rest):
        raise ValueError(f"layer {name} has fewer blobs than it says")
    return Layer(kind, name, tuple(rest[:count]), tuple(rest[count:end]))

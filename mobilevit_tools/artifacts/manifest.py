"""The manifest beside every artifact: what it is, what it was made from, with what, and how right it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mobilevit_tools.artifacts.files import MANIFEST_NAME, ArtifactFile
from mobilevit_tools.data.contract import Contract
from mobilevit_tools.documents import DocumentKind, read_document, typed
from mobilevit_tools.errors import BadInputError
from mobilevit_tools.exporters._base import Delegation, ExportSpec
from mobilevit_tools.exporters.request import ExportRequest
from mobilevit_tools.jsonable import jsonable
from mobilevit_tools.models.provenance import IN_MEMORY, Weights
from mobilevit_tools.precision.record import KeptOperator
from mobilevit_tools.quantization._base import QuantizationRecord
from mobilevit_tools.quantization.share import QuantizedShare
from mobilevit_tools.result import Shown
from mobilevit_tools.rewrites.applied import AppliedRewrite
from mobilevit_tools.verification.parity import Parity

MANIFEST_SCHEMA = 1

_KIND = DocumentKind(
    "a manifest", "bad_manifest", "Copy the artifact's whole folder, or export it again.", missing="no_manifest"
)


@dataclass(frozen=True)
class ModelRecord:
    """The model that an artifact was made from.

    Attributes:
        name: Its name, as ``mvt models`` lists it.
        num_classes: Its class count.
        options: Options of its builder.
        params: Trainable parameters of the model as its authors wrote it.
        macs: Multiply-accumulates of one image at the artifact's input size.
        weights: Where its weights came from.
        reconstruction: Why the architecture is this project's own reconstruction; None where it is not.
    """

    name: str
    num_classes: int
    options: Mapping[str, str | int | float | bool | None]
    params: int
    macs: int
    weights: Weights
    reconstruction: str | None


@dataclass(frozen=True, repr=False)
class Manifest(Shown):
    """Everything that is known of one artifact.

    Attributes:
        artifact: The file or folder and its digest.
        model: What it was made from.
        spec: What was made of it.
        contract: What an app must know to use it.
        parity: How right it is.
        rewrites: The deployment rewrites that were applied, in order.
        rewrite_difference: How far they moved the outputs in float64, as a share of the largest.
        quantization: How it was quantized; None where it is in floating point.
        quantized: How much of it is; None where it is in floating point, or nothing multiplies by a weight.
        fp16_keep: The operators that stay in float32 in an artifact of half precision.
        delegation: How much its backend took over; None where that does not apply.
        tools: Versions by package.
        request: What was asked for; ``mvt export`` with its arguments makes the same again.
        schema: The version of this layout.
    """

    artifact: ArtifactFile
    model: ModelRecord
    spec: ExportSpec
    contract: Contract
    parity: Parity
    rewrites: tuple[AppliedRewrite, ...]
    rewrite_difference: float
    quantization: QuantizationRecord | None
    fp16_keep: tuple[KeptOperator, ...]
    delegation: Delegation | None
    request: ExportRequest
    quantized: QuantizedShare | None = None
    tools: Mapping[str, str] = field(default_factory=dict)
    schema: int = MANIFEST_SCHEMA

    @property
    def command(self) -> str | None:
        """The command that makes the same again; None where the model was in memory."""
        return None if self.model.weights.source == IN_MEMORY else self.request.command

    def write(self, folder: Path) -> Path:
        """Write ``manifest.json`` into ``folder`` and return its path."""
        path = folder / MANIFEST_NAME
        path.write_text(json.dumps(jsonable(self), indent=2, sort_keys=True) + "\n", encoding="utf-8")
        return path


def is_manifest(path: Path) -> bool:
    """Tell whether a ``manifest.json`` is one of an artifact, and not of a web app or whatever else has that name.

    What cannot be read may be one: :func:`read_manifest` says what is wrong with it.
    """
    if not path.is_file():
        return False
    try:
        raw = read_document(path, _KIND)
    except BadInputError:
        return True
    return not isinstance(raw, dict) or {"schema", "artifact"} <= raw.keys()


def read_manifest(path: Path) -> Manifest:
    """Read a ``manifest.json``.

    Raises:
        BadInputError: It is missing, of another schema, or no manifest.
    """
    return as_manifest(read_document(path, _KIND), str(path))


def as_manifest(raw: Any, source: str) -> Manifest:
    """Read a manifest's JSON value.

    Raises:
        BadInputError: It is of another schema, or no manifest.
    """
    if not isinstance(raw, dict):
        raise _KIND.error(f"{source} is not {_KIND.name}: it holds no object.")
    found = raw.get("schema")
    if found != MANIFEST_SCHEMA:
        raise BadInputError(
            f"{source} has schema {found!r}; this version reads {MANIFEST_SCHEMA}.",
            hint="Export the model again.",
            code=_KIND.code,
        )
    return typed(Manifest, raw, source, _KIND)


def find_manifest(artifact: Path) -> Manifest | None:
    """Return the manifest beside an artifact, or None where there is none or it describes another file."""
    path = artifact.parent / MANIFEST_NAME
    if not is_manifest(path):
        return None
    manifest = read_manifest(path)
    return manifest if manifest.artifact.file == artifact.name else None

"""The manifest beside every artifact: what it is, what it was made from, with what, and how right it is."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePath

from mobilevit_tools.artifact_files import artifact_files
from mobilevit_tools.data.contract import Contract
from mobilevit_tools.errors import BadInputError, MvtError
from mobilevit_tools.exporters._base import Delegation, ExportSpec
from mobilevit_tools.exporters.request import ExportRequest
from mobilevit_tools.jsonable import jsonable
from mobilevit_tools.models.factory import IN_MEMORY, Weights
from mobilevit_tools.precision.record import KeptOperator
from mobilevit_tools.quantization._base import QuantizationRecord
from mobilevit_tools.quantization.share import QuantizedShare
from mobilevit_tools.result import Shown
from mobilevit_tools.rewrites.applied import AppliedRewrite
from mobilevit_tools.targets.registry import TARGETS
from mobilevit_tools.verification.parity import Parity

MANIFEST_SCHEMA = 1
MANIFEST_NAME = "manifest.json"
MAX_MANIFEST_BYTES = 64 * 1024 * 1024

_UNUSABLE = ("unloadable_artifact", "crash", "hang", "out_of_memory")
_TOOLS = ("mobilevit-tools", "torch", "numpy", "pillow")


@dataclass(frozen=True)
class ArtifactFile:
    """The artifact itself.

    Attributes:
        file: Its name beside the manifest.
        sha256: Its digest; of a folder, the digest of its files' names and digests.
        size_bytes: Its size, all files of a folder together.

    Raises:
        BadInputError: The name is that of no file beside the manifest.
    """

    file: str
    sha256: str
    size_bytes: int

    def __post_init__(self) -> None:
        """Refuse what leads to another folder, or to the manifest itself."""
        if self.file != PurePath(self.file).name or self.file in ("", "..", MANIFEST_NAME):
            raise BadInputError("It references an artifact outside of its folder.", code="bad_manifest")


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
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            return True
        raw = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return True
    return isinstance(raw, dict) and {"schema", "artifact"} <= raw.keys()


def read_manifest(path: Path) -> Manifest:
    """Read a ``manifest.json``.

    Raises:
        BadInputError: It is missing, of another schema, or no manifest.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise BadInputError(f"{path} is too large for a manifest.")
        raw = json.loads(path.read_bytes())
    except OSError as error:
        raise BadInputError(f"There is no manifest at {path}: {error.strerror}.", code="no_manifest") from error
    except ValueError as error:
        raise BadInputError(f"{path} is not JSON: {error}.", code="bad_manifest") from error
    except RecursionError as error:
        raise BadInputError(f"{path} is nested too deeply.", code="bad_manifest") from error
    found = raw.get("schema") if isinstance(raw, dict) else None
    if found != MANIFEST_SCHEMA:
        raise BadInputError(
            f"{path} has schema {found!r}; this version reads {MANIFEST_SCHEMA}.",
            hint="Export the model again.",
            code="bad_manifest",
        )
    try:
        return TypeAdapter(Manifest).validate_python(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise BadInputError(f"{path} is not a manifest: {where}: {first['msg']}.", code="bad_manifest") from error
    except MvtError as error:  # what it holds contradicts itself
        raise BadInputError(f"{path} is not a manifest: {error.message}", code="bad_manifest") from error


def find_manifest(artifact: Path) -> Manifest | None:
    """Return the manifest beside an artifact, or None where there is none or it describes another file."""
    path = artifact.parent / MANIFEST_NAME
    if not is_manifest(path):
        return None
    manifest = read_manifest(path)
    return manifest if manifest.artifact.file == artifact.name else None


def describe_artifact(path: Path) -> ArtifactFile:
    """Measure and digest an artifact, a file or a folder."""
    files = artifact_files(path)
    size = sum(file.stat().st_size for file in files)
    if path.is_file():
        return ArtifactFile(path.name, _sha256(path), size)
    lines = (f"{_sha256(file)}  {file.relative_to(path).as_posix()}\n" for file in files)
    return ArtifactFile(path.name, hashlib.sha256("".join(lines).encode()).hexdigest(), size)


def check_digest(artifact: Path) -> Manifest | None:
    """Return the manifest beside an artifact, which is the file that it describes; None where there is none.

    Raises:
        BadInputError: The artifact is another file than its manifest describes.
    """
    manifest = find_manifest(artifact)
    if manifest is not None and (found := describe_artifact(artifact)) != manifest.artifact:
        raise _changed(artifact, manifest, found)
    return manifest


@contextmanager
def naming_changes(artifact: Path, manifest: Manifest | None) -> Iterator[None]:
    """Say of an artifact that cannot be opened or run, first of all, that it is not what its manifest describes.

    Raises:
        BadInputError: It is not, in place of what the context raised.
    """
    try:
        yield
    except MvtError as error:
        if manifest is None or error.error_code not in _UNUSABLE:
            raise
        if (found := describe_artifact(artifact)) == manifest.artifact:
            raise
        raise _changed(artifact, manifest, found) from error


def _changed(artifact: Path, manifest: Manifest, found: ArtifactFile) -> BadInputError:
    return BadInputError(
        f"{artifact} is not the file that its manifest describes: sha256 {found.sha256[:12]} "
        f"in place of {manifest.artifact.sha256[:12]}.",
        hint="It may be damaged: copy or export it again. If you changed it yourself, `mvt verify` checks whether it "
        "still computes the model, and without its manifest.json it is taken as it is.",
        code="digest",
    )


def tool_versions() -> dict[str, str]:
    """Return the versions of the packages that make and judge artifacts."""
    versions = {"python": platform.python_version()}
    for name in (*_TOOLS, *(package.name for target in TARGETS.values() for package in target.packages)):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""Find and parse the files of a Core ML model without trusting any of them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, cast

from mobilevit_tools.documents import DocumentKind, read_document
from mobilevit_tools.errors import BadInputError

from .schema import model_class

if TYPE_CHECKING:
    from google.protobuf.message import Message

MANIFEST = DocumentKind(
    "a manifest of Core ML", BadInputError.code, "Copy the whole package, or export it again.", max_bytes=1 << 20
)
MAX_MODEL_BYTES = (1 << 31) - 1  # protobuf's own limit for one message
_MODEL_PATH = "@model_path/"


@dataclass(frozen=True)
class Package:
    """A parsed model file and where its weights may lie.

    Attributes:
        path: What the user named.
        spec: The ``CoreML.Specification.Model`` message.
        root: The package folder, out of which no file is read; None for a single ``.mlmodel`` file.
        model_folder: The folder that ``@model_path`` stands for.
    """

    path: Path
    spec: Message
    root: Path | None
    model_folder: Path

    def weight_file(self, name: str) -> Path:
        """Resolve a weight file's name as written in the program, such as ``@model_path/weights/weight.bin``.

        Raises:
            BadInputError: The name leads out of the package, or there is no such file.
        """
        if self.root is None or not name.startswith(_MODEL_PATH):
            raise BadInputError(f"{self.path.name} names a weight file that is not part of a package: {name[:200]!r}.")
        return _inside(self.root, self.model_folder, name.removeprefix(_MODEL_PATH), "weight file")


def open_package(path: str | Path) -> Package:
    """Parse a ``.mlpackage`` folder or a ``.mlmodel`` file.

    Raises:
        BadInputError: Nothing is there, or it is not a Core ML model, is cut short, or points out of its folder.
    """
    path = Path(path)
    if not path.exists():
        raise BadInputError(f"There is no Core ML model at {path}.")
    if path.is_file():
        return Package(path, _parse(path, path), None, path.parent)
    if path.suffix == ".mlmodelc" or (path / "coremldata.bin").exists():
        raise BadInputError(
            f"{path.name} is a compiled Core ML model and no package.",
            hint="Give the .mlpackage that it was compiled from, or read it as a program.",
        )
    model = _root_model(path)
    return Package(path, _parse(model, path), path.resolve(), model.parent)


def _root_model(path: Path) -> Path:
    manifest = path / "Manifest.json"
    if not manifest.is_file():
        raise BadInputError(
            f"{path.name} is not a Core ML package: it has no Manifest.json.",
            hint="Copy the whole folder, or export it again.",
        )
    content: Any = read_document(manifest, MANIFEST)
    try:
        item = content["itemInfoEntries"][content["rootModelIdentifier"]]["path"]
    except (KeyError, TypeError) as error:
        raise BadInputError(f"The Manifest.json of {path.name} names no root model.") from error
    if not isinstance(item, str):
        raise BadInputError(f"The Manifest.json of {path.name} names no root model.")
    return _inside(path.resolve(), path / "Data", item, "model file")


def _inside(root: Path, folder: Path, name: str, what: str) -> Path:
    """Resolve ``name`` in ``folder`` and hold it inside ``root``, symbolic links included."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\\" in name or "\0" in name:
        raise BadInputError(f"{root.name} references a {what} outside of itself: {name[:200]!r}.")
    with suppress(OSError, RuntimeError):  # a name too long, links in a circle
        found = folder.joinpath(*parts).resolve()
        if not found.is_relative_to(root):
            raise BadInputError(f"{root.name} references a {what} outside of itself: {name[:200]!r}.")
        if found.is_file():
            return found
    raise BadInputError(f"{root.name} is incomplete: its {what} {name[:200]!r} is missing.")


def _parse(file: Path, path: Path) -> Message:
    from google.protobuf.message import DecodeError

    size = file.stat().st_size
    if size > MAX_MODEL_BYTES:
        raise BadInputError(f"The model file of {path.name} has {size} bytes; Core ML model files stay below 2 GiB.")
    model = model_class()()
    try:
        model.ParseFromString(file.read_bytes())
    except DecodeError as error:
        raise BadInputError(f"{path.name} is not a Core ML model, or its model file is truncated.") from error
    if cast("str | None", model.WhichOneof("Type")) is None:
        raise BadInputError(f"{path.name} holds no model: its model file is truncated or empty.")
    return model

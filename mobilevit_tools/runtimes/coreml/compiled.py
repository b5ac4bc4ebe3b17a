"""Compiled models, ``.mlmodelc``: a program as text, a weight file, and a description in JSON."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from mobilevit_tools.documents import read_document
from mobilevit_tools.errors import BadInputError

from .blob import WeightFile
from .damage import refusing
from .dtypes import ElementType
from .features import Bounds, Color, Feature, FeatureKind, ModelDescription, Shape
from .mil import Graph, ValueType
from .miltext import parse_program
from .package import MANIFEST, Package
from .schema import model_class

MAX_TEXT_BYTES = 1 << 28
_COLORS: dict[str, Color] = {
    "RGB": "RGB",
    "BGR": "BGR",
    "Grayscale": "GRAYSCALE",
    "Grayscale16Half": "GRAYSCALE_FLOAT16",
}
_TYPES = {"double": "float64"}
_KINDS: dict[str, FeatureKind] = {
    "MultiArray": "tensor",
    "Image": "image",
    "Dictionary": "probabilities",
    "String": "label",
    "State": "state",
}


def is_compiled(path: Path) -> bool:
    """Whether a folder is a compiled model."""
    return path.is_dir() and (path.suffix == ".mlmodelc" or (path / "coremldata.bin").exists())


def read_compiled(path: Path, function: str = "") -> tuple[ModelDescription, Graph]:
    """Read a compiled model.

    Raises:
        BadInputError: It holds no program as text (only models compiled from ML Programs do), or is damaged.
    """
    source = path / "model.mil"
    if not source.is_file():
        raise BadInputError(
            f"{path.name} is a compiled Core ML model without a readable program (model.mil).",
            hint="Pass the .mlpackage or .mlmodel that it was compiled from.",
        )
    if source.stat().st_size > MAX_TEXT_BYTES:
        raise BadInputError(f"The program of {path.name} has over {MAX_TEXT_BYTES} bytes; refusing to read it.")
    weights = _Weights(Package(path, model_class()(), path.resolve(), path.resolve()))
    try:
        with refusing(f"The program of {path.name} is damaged"):
            graph = parse_program(source.read_text("utf-8", errors="replace"), weights.array, function)
            return _description(path, graph, function), graph
    finally:
        weights.close()


class _Weights:
    """Weight files of a compiled model, opened when a constant lies in them."""

    def __init__(self, package: Package) -> None:
        self._package = package
        self._files: dict[str, WeightFile] = {}

    def array(self, name: str, offset: int, element: ElementType, count: int) -> np.ndarray:
        if name not in self._files:
            self._files[name] = WeightFile(self._package.weight_file(name))
        return self._files[name].array(offset, element, count)

    def close(self) -> None:
        for file in self._files.values():
            file.close()


def _description(path: Path, graph: Graph, function: str) -> ModelDescription:
    content = _metadata(path)
    inputs = [_feature(entry) for entry in content.get("inputSchema", [])]
    outputs = [_feature(entry) for entry in content.get("outputSchema", [])]
    states = [_feature(entry, "state") for entry in content.get("stateSchema", [])]
    types = {name: declared for operation in graph.walk() for name, declared in operation.outputs}
    if not inputs:
        inputs = [_plain(name, kind) for name, kind in graph.inputs.items() if kind.container != "state"]
        states = [_plain(name, kind) for name, kind in graph.inputs.items() if kind.container == "state"]
    if not outputs:
        outputs = [_plain(name, types[name]) for name in graph.outputs if name in types]
    known = {"author": "author", "license": "license", "version": "version", "short_description": "shortDescription"}
    return ModelDescription(
        kind="mlProgram",
        specification_version=int(content.get("specificationVersion", 0)),
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        states=tuple(states),
        metadata={key: str(content.get(name, "")) for key, name in known.items()}
        | {str(key): str(value) for key, value in content.get("userDefinedMetadata", {}).items()},
        function=function,
    )


def _metadata(path: Path) -> dict[str, Any]:
    file = path / "metadata.json"
    if not file.is_file() or file.stat().st_size > MANIFEST.max_bytes:
        return {}
    content = read_document(file, MANIFEST)
    found = content[0] if isinstance(content, list) and content else content
    if not isinstance(found, dict):
        raise BadInputError(f"The metadata.json of {path.name} is damaged.")
    return found


def _feature(entry: dict[str, Any], kind: FeatureKind | None = None) -> Feature:
    form = kind or _KINDS.get(str(entry.get("type")), "scalar")
    shape = tuple(int(size) for size in re.findall(r"\d+", str(entry.get("shape", ""))))
    dtype, color = str(entry.get("dataType", "float32")).lower(), None
    if form == "image":
        color = _COLORS.get(str(entry.get("colorspace")), "RGB")
        shape = (1, 1 if color.startswith("GRAY") else 3, int(entry["height"]), int(entry["width"]))
        dtype = "float16" if color == "GRAYSCALE_FLOAT16" else "uint8"
    elif form == "label":
        dtype = "string"
    shapes, bounds = _limits(entry, shape) if form in {"tensor", "image"} else ((), ())
    return Feature(
        name=str(entry["name"]),
        kind=form,
        shape=shape,
        dtype=_TYPES.get(dtype, dtype),
        color=color,
        flexibility="listed" if shapes else "range" if bounds else "fixed",
        shapes=shapes,
        bounds=bounds,
        optional=str(entry.get("isOptional", "0")) == "1",
        description=str(entry.get("shortDescription", "")),
    )


def _limits(entry: dict[str, Any], shape: Shape) -> tuple[tuple[Shape, ...], tuple[Bounds, ...]]:
    """Return the shapes that an input lists, and the range of each size, as Core ML's compiler writes them.

    Sizes of images are width and height; -1 is no limit (coremltools, mlmodel/src/DataType.cpp).
    """
    listed, ranges = _groups(entry.get("enumeratedShapes")), _groups(entry.get("shapeRange"))
    if sizes := _groups(entry.get("enumeratedSizes")):
        listed = [(*shape[:2], height, width) for width, height in sizes]
    if limits := _groups(entry.get("sizeRange")):
        across, down = limits
        ranges = [*((size, size) for size in shape[:2]), down, across]
    return tuple(listed), tuple((low, None if high < 0 else high) for low, high in ranges)


def _groups(text: object) -> list[tuple[int, ...]]:
    """Return the inner lists of numbers of a text such as ``[[1, 3], [2, -1]]``."""
    groups = re.findall(r"\[([^\[\]]*)\]", text) if isinstance(text, str) else ()
    return [tuple(map(int, re.findall(r"-?\d+", group))) for group in groups]


def _plain(name: str, declared: ValueType) -> Feature:
    kinds: dict[str, FeatureKind] = {"state": "state", "dictionary": "probabilities"}
    kind = kinds.get(declared.container, "label" if declared.element.name == "string" else "tensor")
    dtype = {"fp16": "float16", "fp32": "float32", "fp64": "float64"}.get(declared.element.name, declared.element.name)
    return Feature(name, kind, tuple(size or 1 for size in declared.shape), dtype)

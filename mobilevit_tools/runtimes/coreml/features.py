"""What a Core ML model says about itself: inputs, outputs, labels and metadata, whatever its kind."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mobilevit_tools.errors import BadInputError

from .package import Package, open_package

if TYPE_CHECKING:
    from google.protobuf.message import Message

Color = Literal["RGB", "BGR", "GRAYSCALE", "GRAYSCALE_FLOAT16"]
FeatureKind = Literal["tensor", "image", "label", "probabilities", "scalar", "sequence", "state"]
Flexibility = Literal["fixed", "listed", "range"]
Shape = tuple[int, ...]
Bounds = tuple[int, int | None]

_ARRAY_TYPES = {65568: "float32", 65600: "float64", 131104: "int32", 131080: "int8", 65552: "float16"}
_COLORS: dict[int, Color] = {10: "GRAYSCALE", 20: "RGB", 30: "BGR", 40: "GRAYSCALE_FLOAT16"}
_KINDS: dict[str, FeatureKind] = {
    "multiArrayType": "tensor",
    "imageType": "image",
    "dictionaryType": "probabilities",
    "sequenceType": "sequence",
    "stateType": "state",
    "int64Type": "scalar",
    "doubleType": "scalar",
    "stringType": "scalar",
}
_FLEXIBILITY: dict[str, Flexibility] = {
    "enumeratedShapes": "listed",
    "enumeratedSizes": "listed",
    "shapeRange": "range",
    "imageSizeRange": "range",
}
_SCALARS = {"int64Type": "int64", "doubleType": "float64", "stringType": "string"}


@dataclass(frozen=True)
class Feature:
    """One named input or output of a Core ML model.

    Attributes:
        name: Its name.
        kind: ``tensor``, ``image``, ``label`` (a classifier's answer), ``probabilities`` (label to probability), or
            what older models may have: ``scalar``, ``sequence``, ``state``.
        shape: Sizes, outermost first; images are (1, channels, height, width). Where sizes may vary, the default ones.
            Empty where the model does not say.
        dtype: ``float32``, ``float16``, ``float64``, ``int32``, ``int8``, ``uint8`` (images), ``int64`` or ``string``.
        color: Channel order that an image feature has inside the model; None for other kinds.
        labels: A classifier's labels in the order of its probabilities; empty for other features.
        flexibility: Whether the model accepts other sizes than ``shape``: ``fixed``, ``listed`` ones or a ``range``.
        shapes: Every shape that is accepted, where they are ``listed``.
        bounds: The smallest and the largest size of each dimension where they are a ``range``; None for no limit.
        optional: Whether the feature may be left out.
        default: What an optional input is filled with when it is left out; None where the model does not say.
        description: The author's sentence on it, or an empty string.
    """

    name: str
    kind: FeatureKind
    shape: tuple[int, ...]
    dtype: str
    color: Color | None = None
    labels: tuple[str, ...] | tuple[int, ...] = ()
    flexibility: Flexibility = "fixed"
    shapes: tuple[Shape, ...] = ()
    bounds: tuple[Bounds, ...] = ()
    optional: bool = False
    default: float | None = None
    description: str = ""

    def refusal(self, shape: Shape) -> str | None:
        """Why Core ML does not take an array of this shape, in its words; None where it does."""
        if self.flexibility == "listed" and shape not in self.shapes:
            given, *listed = (" x ".join(map(str, each)) for each in (shape, *self.shapes))
            return f"MultiArray Shape ({given}) was not in enumerated set of allowed shapes: {', '.join(listed)}"
        for axis, (size, (low, high)) in enumerate(zip(shape, self.bounds, strict=False)):
            if size < low or (high is not None and size > high):
                return f"Size ({size}) of dimension ({axis}) is not in allowed range ({low}..{high or 'unbounded'})"
        return None


@dataclass(frozen=True)
class ModelDescription:
    """What any Core ML model can be asked without running it.

    Attributes:
        kind: The kind of model as Core ML's format names it: ``mlProgram``, ``neuralNetworkClassifier``, ``pipeline``.
        specification_version: Core ML's own version number; 6 is iOS 15, 7 iOS 16, 8 iOS 17, 9 iOS 18.
        inputs: Inputs in the model's order.
        outputs: Outputs in the model's order.
        states: Values that the model keeps between calls.
        metadata: ``author``, ``license``, ``version``, ``short_description``, then what the author added, by its key.
        function: The function that is described, where the model has several; else an empty string.
        functions: The names of all its functions, where it has several.
    """

    kind: str
    specification_version: int
    inputs: tuple[Feature, ...]
    outputs: tuple[Feature, ...]
    states: tuple[Feature, ...]
    metadata: dict[str, str]
    function: str = ""
    functions: tuple[str, ...] = ()


def load_description(path: str | Path) -> ModelDescription:
    """Read what a ``.mlpackage`` or ``.mlmodel`` of any kind and age says about itself.

    Raises:
        BadInputError: It is not a Core ML model, or it is damaged.
    """
    return describe(open_package(path))


def describe(package: Package, function: str = "") -> ModelDescription:
    """The description of an opened model; of its default function where it has several and none is named.

    Raises:
        BadInputError: It has no such function.
    """
    spec = package.spec
    description = spec.description
    named = {entry.name: entry for entry in description.functions}
    if function and function not in named:
        known = f"its functions are: {', '.join(named)}" if named else "it has a single one without a name"
        raise BadInputError(f"{package.path.name} has no function {function!r}; {known}.", code="no_such_function")
    source: Any = description
    if named:
        function = function or description.defaultFunctionName or next(iter(named))
        source = named.get(function, description.functions[0])
    return ModelDescription(
        kind=str(spec.WhichOneof("Type")),
        specification_version=int(spec.specificationVersion),
        inputs=tuple(_feature(entry) for entry in source.input),
        outputs=tuple(_feature(entry, source.predictedFeatureName) for entry in source.output),
        states=tuple(_feature(entry) for entry in source.state),
        metadata=_metadata(description.metadata),
        function=function,
        functions=tuple(named),
    )


def _metadata(message: Message) -> dict[str, str]:
    known = {
        "author": message.author,
        "license": message.license,
        "version": message.versionString,
        "short_description": message.shortDescription,
    }
    return known | {key: value for key, value in sorted(message.userDefined.items()) if key not in known}


def _feature(entry: Message, predicted: str = "") -> Feature:
    form = entry.type.WhichOneof("Type") or ""
    kind: FeatureKind = "label" if entry.name == predicted or form == "stringType" else _KINDS.get(form, "scalar")
    shape: tuple[int, ...] = ()
    dtype, color, sizes = _SCALARS.get(form, "float64"), None, None
    shapes: tuple[Shape, ...] = ()
    bounds: tuple[Bounds, ...] = ()
    default: float | None = None
    if form == "multiArrayType":
        array = entry.type.multiArrayType
        shape = tuple(array.shape) or _first_shape(array)
        dtype = _ARRAY_TYPES.get(array.dataType, "float32")
        sizes = array.WhichOneof("ShapeFlexibility")
        stored = array.WhichOneof("defaultOptionalValue")
        default = None if stored is None else float(getattr(array, stored))
        shapes = tuple(tuple(each.shape) for each in array.enumeratedShapes.shapes)
        bounds = tuple(_bounds(each) for each in array.shapeRange.sizeRanges)
    elif form == "imageType":
        image = entry.type.imageType
        color = _COLORS.get(image.colorSpace, "RGB")
        outer = (1, 1 if color.startswith("GRAY") else 3)
        shape = (*outer, int(image.height), int(image.width))
        dtype = "float16" if color == "GRAYSCALE_FLOAT16" else "uint8"
        sizes = image.WhichOneof("SizeFlexibility")
        shapes = tuple((*outer, int(each.height), int(each.width)) for each in image.enumeratedSizes.sizes)
        if sizes == "imageSizeRange":
            limits = image.imageSizeRange
            bounds = (*((size, size) for size in outer), _bounds(limits.heightRange), _bounds(limits.widthRange))
    return Feature(
        name=entry.name,
        kind=kind,
        shape=shape,
        dtype=dtype,
        color=color,
        flexibility=_FLEXIBILITY.get(sizes or "", "fixed"),
        shapes=shapes,
        bounds=bounds,
        optional=entry.type.isOptional,
        default=default,
        description=entry.shortDescription,
    )


def _first_shape(array: Message) -> tuple[int, ...]:
    shapes: Iterable[Message] = array.enumeratedShapes.shapes
    return next((tuple(entry.shape) for entry in shapes), tuple(r.lowerBound for r in array.shapeRange.sizeRanges))


def _bounds(sizes: Message) -> Bounds:
    """Limits of one dimension; the format writes -1 (and older writers 0) for none."""
    return int(sizes.lowerBound), int(sizes.upperBound) if sizes.upperBound > 0 else None

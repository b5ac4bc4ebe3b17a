"""Core ML packages behind the interface that every runtime has."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mobilevit_tools.data.contract import KEPT_KEY, Contract
from mobilevit_tools.data.preprocessing import Preprocessing
from mobilevit_tools.errors import DeviceError, UsageError
from mobilevit_tools.runtimes._base import OperatorUse, Session, TensorInfo, UnsupportedOperatorError, check_input

from .design_rules import broken_rules
from .features import Feature
from .interpreter import ARITHMETICS, Arithmetic
from .memory import activation_peak
from .placement import SOURCES, placement
from .program import Program, load_program

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mobilevit_tools.analysis.lifetimes import ActivationPeak

REFERENCE_NOTE = (
    "Outputs come from a reference interpreter of the conversion, not from the Neural Engine; "
    "its speed is not representative of a device."
)


class CoreMLSession(Session):
    """An ML Program on the reference runtime and, on macOS, on Core ML itself as well.

    The number of threads is that of torch, for the whole process, until the session is closed.

    Attributes:
        program: The loaded program.
        arithmetic: What :meth:`run` and :meth:`prepare` round to fp16.
    """

    def __init__(self, path: Path, threads: int, arithmetic: Arithmetic) -> None:
        self.program: Program = load_program(path)
        self.arithmetic: Arithmetic = arithmetic
        needed = (entry for entry in self.program.inputs if entry.default is None)  # thresholds have one
        self.inputs = tuple(_info(entry, self.program) for entry in needed)
        self.outputs = tuple(_info(entry, self.program) for entry in self.program.outputs)
        self.keep_metadata(self.program.metadata)
        self.described = _described(self.program) if self.contract is None else None
        operations = self.program.graph.operations
        typed = [(entry.name, {value.element.name for _, value in entry.outputs}) for entry in operations]
        self.arithmetics = ("as-typed", "half") if any("fp16" in types for _, types in typed) else ("as-typed",)
        marked = KEPT_KEY in self.metadata
        self._kept = frozenset(name for name, types in typed if marked and "fp32" in types)
        self._placement = placement(self.program)
        self.notes = (
            REFERENCE_NOTE,
            *(f"{note.sentence} ({SOURCES[note.source].title})" for note in self._placement.notes),
            *(f"Neural Engine design: {rule.in_words}" for rule in broken_rules(self.program)),
        )
        if self.program.unsupported:
            self.notes = (str(UnsupportedOperatorError(self.program.unsupported)), *self.notes)
        self.notes = (*(f"Core ML does not load this: {reason}." for reason in self.program.refused), *self.notes)
        if len(self.outputs) < len(self.program.description.outputs):
            self.notes = ("Several outputs share a name; Core ML returns only one of them.", *self.notes)
        if self.program.random:
            kinds = ", ".join(self.program.random)
            self.unverifiable = f"It draws random numbers ({kinds}); Core ML's generator is undocumented."
            self.notes = (self.unverifiable, *self.notes)
        if self.program.description.functions:
            shown, known = self.program.description.function, ", ".join(self.program.description.functions)
            self.notes = (f"It has several functions ({known}); this is {shown}.", *self.notes)
        self._threads = torch.get_num_threads()
        torch.set_num_threads(threads)

    def _feeds(self, array: NDArray[Any]) -> dict[str, NDArray[Any]]:
        check_input(self.inputs, array)
        return {self.inputs[0].name: array}

    def prepare(self, array: NDArray[Any]) -> Callable[[], object]:
        """Bind one input to the reference runtime; see the base class."""
        feeds = self._feeds(array)
        return lambda: self.program.run(feeds, self.arithmetic, keep_fp32=self._keep_fp32)

    def run(self, array: NDArray[Any]) -> list[NDArray[Any]]:
        """Run on the reference runtime; see the base class."""
        logits = self.program.logits if self._gives_probabilities else None
        results = self.program.run(
            self._feeds(array), self.arithmetic, [logits] if logits else (), keep_fp32=self._keep_fp32
        )
        numbers = [_numbers(results[entry.name]) for entry in self.program.outputs if entry.kind != "label"]
        if self._gives_objects:
            numbers = [each[None] for each in numbers]
        if self.described is not None:
            scores = _numbers(next(value for value in results.values() if isinstance(value, dict)))
            return [np.asarray(results[logits]).reshape(1, -1), scores] if logits else [scores]
        return [np.asarray(results[logits]), *numbers] if logits else numbers

    @property
    def _gives_objects(self) -> bool:
        """Whether outputs are of the one image, without a batch."""
        return self.contract is not None and self.contract.output == "objects"

    @property
    def _gives_probabilities(self) -> bool:
        """Whether logits come before the softmax at the end, which may as well be the model's own."""
        if self.contract is None:
            return any(entry.kind == "probabilities" for entry in self.program.outputs)
        return self.contract.output == "probabilities"

    @property
    def _keep_fp32(self) -> frozenset[str]:
        """What ``half`` leaves unrounded: results that the types say are float32, if the package says it is meant."""
        return self._kept if self.arithmetic == "half" else frozenset()

    def use(self, arithmetic: str) -> None:
        """Compute in one of the arithmetics from now on; see the base class."""
        known = next((each for each in ARITHMETICS if each == arithmetic), None)
        if known is None:
            raise UsageError(f"There is no arithmetic {arithmetic!r}; there are {', '.join(ARITHMETICS)}.")
        self.arithmetic = known

    def native(self) -> NativeSession | None:
        """Return the package on Core ML itself, on macOS; see the base class."""
        return NativeSession(self) if sys.platform == "darwin" else None

    def operators(self) -> dict[str, int]:
        """Count operators by type, constants aside; see the base class."""
        return self.program.operators

    def operator_uses(self) -> tuple[OperatorUse, ...]:
        """Tell precision and MACs of each operator type; see the base class."""
        return self._placement.operators

    def activation_peak(self) -> ActivationPeak:
        """Find the peak of activation memory; see the base class."""
        return activation_peak(self.program)

    def close(self) -> None:
        """Give torch its former number of threads."""
        torch.set_num_threads(self._threads)


class NativeSession(Session):
    """An ML Program on Core ML itself, which runs on macOS only. It gives probabilities where the package does."""

    def __init__(self, reference: CoreMLSession) -> None:
        # Without the reference itself, whose weights would stay in memory beside Core ML's own.
        self._path = reference.program.path
        self._results = reference.program.outputs
        self._operators = reference.operators()
        self.inputs = reference.inputs
        self.outputs = reference.outputs
        self.contract = reference.contract
        self.described = reference.described
        self._objects = reference._gives_objects
        self.metadata = reference.metadata
        try:
            from coremltools.models import MLModel

            self._model: Any = MLModel(str(self._path))
        except Exception as error:  # coremltools passes on whatever the framework raises
            raise self._failure(error) from error

    def prepare(self, array: NDArray[Any]) -> Callable[[], object]:
        """Bind one input; see the base class."""
        check_input(self.inputs, array)
        feeds = {self.inputs[0].name: self._value(array)}
        return lambda: self._model.predict(feeds)

    def run(self, array: NDArray[Any]) -> list[NDArray[Any]]:
        """Run on one input and return the numeric outputs in order, probabilities in label order; see the base class.

        Raises:
            DeviceError: Core ML refuses the model or fails on it.
        """
        call = self.prepare(array)
        try:
            results: Any = call()
        except Exception as error:  # as above
            raise self._failure(error) from error
        numbers = [self._numbers(results[entry.name], entry) for entry in self._results if entry.kind != "label"]
        return [each[None] for each in numbers] if self._objects else numbers

    def _numbers(self, value: Any, entry: Feature) -> NDArray[Any]:
        if entry.kind != "probabilities":
            return np.asarray(value)
        # Core ML's dictionary comes in the order of its hashes, not of the labels.
        if absent := [label for label in entry.labels if label not in value]:
            raise self._failure(LookupError(f"it returns no probability for {absent[0]!r}."))
        return np.array([[value[label] for label in entry.labels]], np.float32)

    def _value(self, array: NDArray[Any]) -> Any:
        if self.inputs[0].kind != "image":
            return array
        from PIL import Image

        pixels = array[0].transpose(1, 2, 0)
        return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)

    def _failure(self, error: Exception) -> DeviceError:
        return DeviceError(f"Core ML failed on {self._path.name}: {str(error).strip()[:500]}")

    def operators(self) -> Mapping[str, int]:
        """Count operators by type; see the base class."""
        return self._operators

    def close(self) -> None:
        """Forget Core ML's copy."""
        self._model = None


def open_session(path: Path, *, threads: int, arithmetic: Arithmetic = "as-typed") -> CoreMLSession:
    """Load an ML Program.

    Args:
        path: A ``.mlpackage`` folder.
        threads: Threads within an operator.
        arithmetic: What to round to fp16; by default what the program's types say.

    Raises:
        BadInputError: It is not an ML Program, or it is damaged.
    """
    return CoreMLSession(path, threads, arithmetic)


def _info(entry: Feature, program: Program) -> TensorInfo:
    if entry.kind == "label":
        return TensorInfo(entry.name, (), entry.dtype, "label")
    if entry.kind == "probabilities":
        return TensorInfo(entry.name, (1, len(entry.labels)), "float32")
    declared = program.graph.inputs.get(entry.name)
    shape: tuple[int | None, ...] = entry.shape if declared is None else declared.shape
    if declared is None and entry.bounds:
        shape = tuple(low if low == high else None for low, high in entry.bounds)
    return TensorInfo(entry.name, shape, entry.dtype, "image" if entry.kind == "image" else "tensor")


def _numbers(value: Any) -> NDArray[Any]:
    return np.array([list(value.values())], np.float32) if isinstance(value, dict) else np.asarray(value)


def _described(program: Program) -> Contract | None:
    """What a classifier of others says of itself: the size of its image, and its labels.

    How a photo is cut to that size is the app's choice; Apple's Vision framework takes the centre by default.
    """
    images = [entry for entry in program.inputs if entry.kind == "image" and entry.flexibility == "fixed"]
    shares = [entry for entry in program.outputs if entry.kind == "probabilities" and entry.labels]
    if len(images) != 1 or len(program.inputs) != 1 or len(shares) != 1 or images[0].dtype != "uint8":
        return None
    size = (images[0].shape[2], images[0].shape[3])
    return Contract(
        model=program.path.stem,
        preprocessing=Preprocessing(size, 1.0, "bilinear", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        input="image",
        output="probabilities",
        labels=tuple(map(str, shares[0].labels)),
        license=program.metadata.get("license", ""),
    )

"""What every runtime offers: open an artifact, tell its inputs and outputs, run it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, overload

from mobilevit_tools.errors import BadInputError, MissingDependencyError, UsageError
from mobilevit_tools.runtimes.pieces import Piece

if TYPE_CHECKING:
    from types import TracebackType

    import numpy as np
    from numpy.typing import NDArray

    from mobilevit_tools.analysis.lifetimes import ActivationPeak
    from mobilevit_tools.data.contract import Contract


DELEGATE = "delegate:"
"""What the name of an operator begins with that is a call into a backend."""


@dataclass(frozen=True)
class TensorInfo:
    """One input or output of an artifact.

    Attributes:
        name: Its name in the artifact.
        shape: Its sizes; None marks a dimension that is free.
        dtype: NumPy's name of the element type.
        kind: ``tensor``, ``image`` (uint8 pixels, the artifact normalises by itself) or ``label`` (a class name).
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    kind: Literal["tensor", "image", "label"] = "tensor"

    @property
    def batch(self) -> int:
        """How many images go in at once; 1 where any number does."""
        return (self.shape[0] if self.shape else None) or 1

    @overload
    def feed(self, tensor: NDArray[np.float32], pixels: NDArray[np.uint8]) -> NDArray[Any]: ...

    @overload
    def feed(self, tensor: NDArray[np.float32], pixels: NDArray[np.uint8] | None) -> NDArray[Any] | None: ...

    def feed(self, tensor: NDArray[np.float32], pixels: NDArray[np.uint8] | None) -> NDArray[Any] | None:
        """Return images as this input takes them, the last one again in the places that are left; None if it cannot.

        Args:
            tensor: The images, normalised (N, 3, H, W).
            pixels: The same images (N, 3, H, W), for an input that normalises by itself; None where no pixels give
                ``tensor``.
        """
        import numpy as np

        images = tensor if self.kind != "image" else None if pixels is None else _fit_channels(self, pixels)
        if images is None:
            return None
        left = self.batch - len(images)
        return np.concatenate([images, np.repeat(images[-1:], left, axis=0)]) if left > 0 else images


@dataclass(frozen=True)
class OperatorUse:
    """How an artifact uses one operator type.

    Attributes:
        type: Operator type.
        count: How often it occurs.
        precisions: Element type of its first output to how often, such as ``{"fp16": 12}``; empty where unknown.
        macs: Multiply-accumulates of all its occurrences; None where they are unknown.
    """

    type: str
    count: int
    precisions: Mapping[str, int] = field(default_factory=dict)
    macs: int | None = None


class Session(ABC):
    """An artifact that is loaded and ready to run, with its thread count fixed; close it or use it in ``with``.

    Attributes:
        inputs: The artifact's inputs.
        outputs: The artifact's outputs.
        contract: The contract stored inside the artifact; None for artifacts that others made.
        described: What the format itself says of an artifact without a contract: an image in, labels and their
            scores out; None where it does not say as much. Logits come before the scores where a softmax is all that is
            between them; otherwise the scores are alone, and need not be probabilities.
        metadata: The free-form metadata of the format, as text.
        notes: Sentences on what people should know of this artifact.
        unverifiable: Why nothing can be said of the numbers that the artifact gives, though it runs; else None.
        arithmetics: Where the session models its runtime: the arithmetics in which to judge the artifact, the one in
            use first. Empty where it is the runtime itself.
    """

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    contract: Contract | None
    described: Contract | None = None
    metadata: Mapping[str, str]
    notes: tuple[str, ...] = ()
    unverifiable: str | None = None
    arithmetics: tuple[str, ...] = ()

    def keep_metadata(self, stored: Mapping[str, str | None]) -> None:
        """Set the metadata to what is stored, and the contract to what stands under ``METADATA_KEY`` there.

        Raises:
            BadInputError: The contract is damaged.
        """
        from mobilevit_tools.data.contract import METADATA_KEY, Contract

        self.metadata = {str(name): str(text) for name, text in stored.items() if text is not None}
        contract = self.metadata.get(METADATA_KEY)
        self.contract = None if contract is None else Contract.from_json(contract)

    @abstractmethod
    def prepare(self, array: NDArray[Any]) -> Callable[[], object]:
        """Bind one input (the only one, N, C, H, W) and return a call that runs the artifact once on it.

        The call does nothing but the inference, so that it can be timed; it fails as :meth:`run` does.
        """

    @abstractmethod
    def run(self, array: NDArray[Any]) -> list[NDArray[Any]]:
        """Run on one input (N, C, H, W) and return all numeric outputs in order.

        ``array`` is a normalised float tensor, or uint8 pixels where ``inputs[0].kind`` is ``image``. Where the
        artifact returns probabilities, its logits (N, classes) come before them if the runtime can reach them.

        Raises:
            BadInputError: The shape or type does not fit the artifact.
            UnsupportedOperatorError: The runtime lacks operators of this artifact.
        """

    def feed(self, tensor: NDArray[np.float32], pixels: NDArray[np.uint8] | None) -> NDArray[Any] | None:
        """Return images as the artifact's only input takes them; see :meth:`TensorInfo.feed`.

        Raises:
            BadInputError: It has no input, several, or one whose sizes are not known, or it gives no numbers.
        """
        return only_input(self).feed(tensor, pixels)

    def use(self, arithmetic: str) -> None:
        """Compute in one of ``arithmetics`` from now on.

        Raises:
            UsageError: This session does not model that arithmetic.
        """
        raise UsageError(f"This runtime does not support {arithmetic!r} arithmetic.")

    def native(self) -> Session | None:
        """Return the same artifact on the system's own runtime, where this session models that one; else None."""
        return None

    @abstractmethod
    def operators(self) -> Mapping[str, int]:
        """Count the artifact's operators by type, in alphabetical order."""

    def operator_uses(self) -> tuple[OperatorUse, ...]:
        """Tell what is known of each operator type, in alphabetical order."""
        return tuple(OperatorUse(name, count) for name, count in self.operators().items())

    def pieces(self) -> tuple[Piece, ...]:
        """Tell in order of execution what a backend takes over and what not; nothing where there is no backend."""
        return ()

    def activation_peak(self) -> ActivationPeak | None:
        """Find the peak of activation memory in the program, from the lifetimes of its values; None where it is hidden.

        Raises:
            BadInputError: A size of a value is known only at run time.
        """
        return None

    @abstractmethod
    def close(self) -> None:
        """Release what the session holds."""

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class UnsupportedOperatorError(MissingDependencyError):
    """A runtime lacks operators that an artifact uses, so nothing can be said of its numbers.

    Attributes:
        operators: The operator types that are missing.
    """

    code = "unsupported_operators"

    def __init__(self, operators: tuple[str, ...]) -> None:
        super().__init__(f"The runtime lacks these operators: {', '.join(operators)}.")
        self.operators = operators


def only_input(session: Session) -> TensorInfo:
    """Return what an artifact takes: its only input, whose first size is the batch.

    An artifact of others may have none; whoever reads a size of ``inputs`` before the artifact runs asks here.

    Raises:
        BadInputError: It has no input, several, or one whose sizes are not known, or it gives no numbers.
    """
    info = _single(session.inputs)
    if not info.shape:
        raise BadInputError(f"The artifact's input {info.name} does not declare its rank.", code="artifact_signature")
    if all(output.kind == "label" for output in session.outputs):
        raise BadInputError("The artifact has no numeric outputs.", code="artifact_signature")
    return info


def _single(inputs: tuple[TensorInfo, ...]) -> TensorInfo:
    if len(inputs) != 1:
        count = f"{len(inputs)} inputs ({', '.join(info.name for info in inputs)})" if inputs else "no input"
        raise BadInputError(
            f"The artifact has {count}; mvt supports artifacts with one input.", code="artifact_signature"
        )
    return inputs[0]


def check_input(inputs: tuple[TensorInfo, ...], array: NDArray[Any]) -> None:
    """Refuse an array that does not fit an artifact's only input.

    Raises:
        BadInputError: The artifact has no input or several, or the array's shape is not the input's.
    """
    expected = _single(inputs).shape
    fits = len(expected) == array.ndim and all(
        size is None or size == given for size, given in zip(expected, array.shape, strict=True)
    )
    if not fits:
        shape = "x".join("?" if size is None else str(size) for size in expected)
        given = "x".join(map(str, array.shape))
        raise BadInputError(f"The artifact takes {shape}, not {given}.", code="input_shape")


def _fit_channels(info: TensorInfo, pixels: NDArray[Any]) -> NDArray[Any]:
    """Return photos (N, 3, H, W) with the channels that an input has: one of luma (ITU-R 601) where it takes gray."""
    import numpy as np

    if len(info.shape) != 4 or info.shape[1] != 1:
        return pixels
    luma = np.einsum("nchw,c->nhw", pixels.astype(np.float64), [0.299, 0.587, 0.114])
    gray: NDArray[Any] = np.round(luma)[:, None].astype(np.uint8)
    return gray


def seeded_noise(info: TensorInfo, shape: Sequence[int], rng: np.random.Generator) -> NDArray[Any]:
    """Return noise of a shape that fits an input: pixels where it takes an image, else normally distributed.

    Raises:
        BadInputError: NumPy has no type for its elements.
    """
    import numpy as np

    if info.kind == "image" or info.dtype == "uint8":
        return rng.integers(0, 256, shape, dtype=np.uint8)
    return rng.standard_normal(shape).astype(numpy_type(info))


def numpy_type(info: TensorInfo) -> np.dtype[Any]:
    """Return the type of an input's elements.

    Raises:
        BadInputError: NumPy has no such type: the input takes text, a sequence, or numbers of few bits.
    """
    import numpy as np

    try:
        return np.dtype(info.dtype)
    except (TypeError, ValueError) as error:
        raise BadInputError(
            f"The artifact's input {info.name} takes {info.dtype}, which mvt does not support.", code="input_type"
        ) from error

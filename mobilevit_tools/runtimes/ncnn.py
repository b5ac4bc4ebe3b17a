"""ncnn's networks in ncnn, on the CPU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ncnn
import numpy as np

from mobilevit_tools.data.contract import MAX_CONTRACT_BYTES, METADATA_KEY
from mobilevit_tools.errors import BadInputError
from mobilevit_tools.runtimes._base import Session, TensorInfo, check_input
from mobilevit_tools.runtimes.ncnn_files import (
    CONTRACT_FILE,
    PARAM_FILE,
    WEIGHTS_FILE,
    Layer,
    Signature,
    read_layers,
    read_text,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BOOKKEEPING = frozenset({"Input", "Split"})


class NcnnSession(Session):
    """A network loaded in ncnn."""

    def __init__(self, path: Path, threads: int) -> None:
        self._path = path
        self._layers = read_layers(path)
        if missing := unknown_layers(self._layers):
            raise BadInputError(f"{path} has layers that ncnn lacks: {', '.join(missing)}.", code="unloadable_artifact")
        signature = Signature.read(path)
        if signature is None or len(signature.inputs) != 1:
            raise BadInputError(
                f"{path} does not say what its input and outputs are.",
                hint="Export it with mvt: ncnn's own files keep no shapes.",
                code="unloadable_artifact",
            )
        self._net = _load(path, threads, fp16=signature.fp16)
        self.inputs = tuple(TensorInfo(name, shape, "float32") for name, shape in signature.inputs.items())
        self.outputs = tuple(TensorInfo(name, shape, "float32") for name, shape in signature.outputs.items())
        self.keep_metadata({METADATA_KEY: read_text(path / CONTRACT_FILE, MAX_CONTRACT_BYTES)})
        switched = "on" if signature.fp16 else "off"
        self.notes = (
            f"It is to be run with ncnn's use_fp16_packed, use_fp16_storage and use_fp16_arithmetic {switched}.",
        )

    def prepare(self, array: NDArray[Any]) -> Callable[[], object]:
        """Bind one input; see the base class."""
        check_input(self.inputs, array)
        given = np.ascontiguousarray(array[0], dtype=np.float32)
        # A Mat of an array keeps a pointer to it alone, and channels that are not a multiple of 16 bytes crash in it.
        image = ncnn.Mat(given).clone()
        name = self.inputs[0].name

        def call() -> list[Any]:
            extractor = self._net.create_extractor()
            extractor.input(name, image)
            results = [extractor.extract(info.name) for info in self.outputs]
            if any(code != 0 for code, _ in results):
                raise BadInputError(f"{self._path} fails when it is run.")
            return [np.array(result) for _, result in results]

        return call

    def run(self, array: NDArray[Any]) -> list[NDArray[Any]]:
        """Run on one input; see the base class."""
        found: Any = self.prepare(array)()
        try:
            return [result.reshape(info.shape) for result, info in zip(found, self.outputs, strict=True)]
        except ValueError as error:
            raise BadInputError(f"{self._path} gives another shape than it says: {error}.") from error

    def operators(self) -> dict[str, int]:
        """Count the layers by type; see the base class."""
        return dict(sorted(Counter(each.type for each in self._layers if each.type not in _BOOKKEEPING).items()))

    def close(self) -> None:
        """Release the network."""
        self._net.clear()


def open_session(path: Path, *, threads: int) -> NcnnSession:
    """Load a network.

    Raises:
        BadInputError: It is not a network that ncnn can load.
    """
    return NcnnSession(path, threads)


def unknown_layers(layers: Iterable[Layer]) -> tuple[str, ...]:
    """Return the types of layers that ncnn lacks: those that pnnx did not convert, and wrote all the same."""
    return tuple(sorted({each.type for each in layers if ncnn.layer_to_index(each.type) < 0}))


def _load(path: Path, threads: int, *, fp16: bool) -> Any:
    net = ncnn.Net()
    net.opt.num_threads = threads
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = fp16
    weights = path / WEIGHTS_FILE
    if not weights.is_file() or net.load_param(str(path / PARAM_FILE)) != 0 or net.load_model(str(weights)) != 0:
        raise BadInputError(f"{path} cannot be loaded by ncnn.", code="unloadable_artifact")
    return net

"""Core ML itself, played by the reference runtime, for coremltools' own tests.

coremltools asks a native module to load and run models, which exists on macOS only. Its tests skip every prediction
elsewhere. Here the module is replaced and the system says that it is macOS 15 on Apple silicon, so that each test
compares what the reference runtime computes with what its authors expect of Core ML.
"""

from __future__ import annotations

import os
import platform
import sys
import types
import unittest.mock
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mobilevit_tools.runtimes.coreml import Program, load_program
from mobilevit_tools.runtimes.coreml.features import Feature

SYSTEM = (15, 0)

Watcher = Callable[["StandIn", Mapping[str, Any]], None]


class StandIn:
    """What coremltools calls ``_MLModelProxy``: a loaded model.

    Attributes:
        watcher: Told of every prediction before it is made.
        program: The loaded program; None where it does not load.
    """

    watcher: Watcher | None = None

    def __init__(self, filename: str | Path, compute_unit: str, function_name: str = "", *_: object) -> None:
        del compute_unit  # the reference has one
        self.program: Program | None = None
        self.error: Exception | None = None
        self.arrays: dict[str, np.ndarray] = {}
        try:
            self.program = load_program(Path(filename), function_name)
        except Exception as error:
            self.error = error

    @staticmethod
    def maximum_supported_specification_version() -> int:
        """The version of iOS 18's models."""
        return 9

    def newState(self) -> dict[str, np.ndarray]:  # noqa: N802 - Core ML's name
        """States before the first prediction."""
        return self._loaded().new_memory()

    def batchPredict(self, data: list[Mapping[str, Any]]) -> list[dict[str, Any]]:  # noqa: N802 - Core ML's name
        """Predict for each of several inputs."""
        return [self.predict(entry) for entry in data]

    def predict(self, data: Mapping[str, Any], state: dict[str, np.ndarray] | None = None) -> dict[str, Any]:
        """Predict as Core ML answers: arrays, pictures, labels."""
        program = self._loaded()
        if StandIn.watcher is not None:
            StandIn.watcher(self, data)
        known = {entry.name: entry for entry in program.inputs}
        self.arrays = {
            name: _array(value, known[name], program) if name in known else np.asarray(value)
            for name, value in data.items()
        }
        results = program.run(self.arrays, "as-typed", memory=state)
        return {entry.name: _answer(results[entry.name], entry) for entry in program.outputs}

    def _loaded(self) -> Program:
        if self.program is None:
            raise self.error or RuntimeError("nothing is loaded")
        return self.program


def _array(value: Any, entry: Feature, program: Program) -> np.ndarray:
    """An input as the reference takes it; Core ML's arrays have a dimension at least, its pictures are Pillow's."""
    array = np.asarray(value)
    if entry.kind == "image":
        return array[None, None] if array.ndim == 2 else array[..., :3].transpose(2, 0, 1)[None]
    declared = program.graph.inputs[entry.name]
    if array.size == 1 and not declared.any_rank and array.ndim + len(declared.shape) == 1:
        return array.reshape((1,) * len(declared.shape))
    return array


def _answer(value: Any, entry: Feature) -> Any:
    if isinstance(value, dict | str | int):
        return value
    array = np.asarray(value)
    if entry.kind == "image":
        return _picture(array[0], entry)
    array = array.reshape(1) if array.shape == () else array
    return array.astype(entry.dtype) if entry.dtype in {"float16", "int8"} else array


def _picture(value: np.ndarray, entry: Feature) -> Any:
    from PIL import Image

    if entry.color == "GRAYSCALE_FLOAT16":
        return Image.fromarray(value[0].astype(np.float32), "F")
    pixels = np.clip(value, 0, 255).astype(np.uint8)
    if len(pixels) == 1:
        return Image.fromarray(pixels[0], "L")
    ordered = pixels[::-1] if entry.color == "BGR" else pixels
    return Image.fromarray(np.ascontiguousarray(ordered.transpose(1, 2, 0)), "RGB").convert("RGBA")


def install() -> None:
    """Put the stand-in in place of Core ML. To be called before any of coremltools' test modules is imported."""
    os.environ.setdefault("INCLUDE_MIL_FP32_UNIT_TESTS", "1")
    platform.machine = lambda: "arm64"
    import coremltools
    import coremltools._deps
    import coremltools.models.model
    import coremltools.models.utils

    coremltools._deps._IS_MACOS = True
    coremltools._deps.MACOS_VERSION = SYSTEM
    for module in (coremltools.models.utils, coremltools.models.model, coremltools.utils):
        module._is_macos = lambda: True
        module._macos_version = lambda: SYSTEM
    coremltools.models.model._MLModelProxy = StandIn
    sys.modules.setdefault("mock", unittest.mock)  # what some test modules import and do not need
    if "torchvision" not in sys.modules:
        stub = types.ModuleType("torchvision")
        stub.__version__ = "0"  # type: ignore[attr-defined]
        sys.modules["torchvision"] = stub

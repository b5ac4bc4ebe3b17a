"""Core ML itself for the runner in Python, on a Mac."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine import NOT_LOADED, Engine, RunnerError, check_one

RUNTIME = "coremltools"
"""What is imported before the loading of a model is timed."""


class CoreMLEngine(Engine):
    """A Core ML package on Core ML itself, on whatever compute units it chooses."""

    def __init__(self, path: Path, threads: int, profile: Path | None = None) -> None:
        from coremltools.models import MLModel

        if threads != 1:  # it would be reported, and nobody would have used it
            raise RunnerError(NOT_LOADED, f"Core ML chooses its own thread count: {threads} is not supported")
        if profile is not None:
            raise RunnerError(NOT_LOADED, "Core ML reports no operator times over ssh; run mvt on the Mac itself")
        package = path.with_suffix("")
        shutil.rmtree(package, ignore_errors=True)  # of an artifact that ran here before
        unpack(path, package)
        self._model = MLModel(str(package))
        description = self._model.get_spec().description
        check_one(len(description.input), len(description.output))
        self._input, self._output = description.input[0].name, description.output[0].name
        if description.input[0].type.WhichOneof("Type") != "multiArrayType":
            raise RunnerError(NOT_LOADED, "it takes an image, not a tensor; export it with --tensor-io")
        array = description.input[0].type.multiArrayType
        types = {"FLOAT32": "float32", "FLOAT16": "float16", "DOUBLE": "float64", "INT32": "int32"}
        name = array.DESCRIPTOR.fields_by_name["dataType"].enum_type.values_by_number[array.dataType].name
        self.dtype = types.get(name, name)
        self.shape = list(array.shape)

    def bind(self, array: Any) -> Callable[[], Any]:
        """Bind an input."""
        feeds = {self._input: array}
        return lambda: self._model.predict(feeds)[self._output]

    def end_profile(self) -> None:
        """Never called: a profile is refused."""


def unpack(path: Path, folder: Path) -> None:
    """Unpack an archive into a folder.

    Raises:
        RunnerError: A part of it is no plain file or folder there, and this Python's tarfile has no filters.
    """
    with tarfile.open(path) as archive:
        if hasattr(tarfile, "data_filter"):
            archive.extractall(folder, filter="data")
            return
        for part in archive:
            inside = (folder / part.name).resolve().is_relative_to(folder.resolve())
            if not inside or not (part.isfile() or part.isdir()):
                raise RunnerError(NOT_LOADED, f"{part.name} of the package is no plain file inside it")
        archive.extractall(folder)  # noqa: S202 - its parts were looked at


ENGINE = CoreMLEngine

"""ExecuTorch's runtime for the runner in Python."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine import Engine, check_one

RUNTIME = "executorch.extension.pybindings._C"
"""What is imported before the loading of a model is timed."""


class ExecutorchEngine(Engine):
    """An ExecuTorch program in the wheel's own runtime."""

    def __init__(self, path: Path, threads: int, profile: Path | None = None) -> None:
        import torch
        from executorch.extension.pybindings import _C

        names = {"Float": "float32", "Half": "float16", "Double": "float64", "Long": "int64", "Int": "int32"}
        names |= {"Byte": "uint8", "Char": "int8"}
        self._tensor = torch.from_numpy
        self._profile = profile
        _C._unsafe_reset_threadpool(threads)
        self._module = _C._load_for_executorch(str(path), enable_etdump=profile is not None)
        meta = self._module.method_meta("forward")
        check_one(meta.num_inputs(), meta.num_outputs())
        first = meta.input_tensor_meta(0)
        # The type is an integer of the C++ enum, named only in the representation.
        self.dtype = names.get(repr(first).partition("dtype=")[2].partition(",")[0], "an unknown type")
        self.shape = list(first.sizes())

    def bind(self, array: Any) -> Callable[[], Any]:
        """Bind an input."""
        tensors = (self._tensor(array),)
        run = self._module.run_method
        return lambda: run("forward", tensors, clone_outputs=False)[0]

    def end_profile(self) -> None:
        """Write the profile."""
        self._module.write_etdump_result_to_file(str(self._profile))


ENGINE = ExecutorchEngine

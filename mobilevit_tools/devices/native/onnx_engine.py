"""ONNX Runtime for the runner in Python."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine import Engine, check_one

RUNTIME = "onnxruntime"
"""What is imported before the loading of a model is timed."""


class OnnxEngine(Engine):
    """An ONNX model in ONNX Runtime, on the CPU."""

    def __init__(self, path: Path, threads: int, profile: Path | None = None) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        if profile is not None:
            options.enable_profiling = True
            options.profile_file_prefix = f"{profile}.part"
        self._profile = profile
        # 8-bit products do not saturate in this mode, which cannot load a weight that two operators read.
        for precise in "10":
            options.add_session_config_entry("session.x64quantprecision", precise)
            try:
                self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
                break
            except Exception:
                if precise == "0":
                    raise
        inputs = self._session.get_inputs()
        check_one(len(inputs), len(self._session.get_outputs()))
        self._name = inputs[0].name
        names = {"float": "float32", "double": "float64"}
        written = inputs[0].type[len("tensor(") : -1]
        self.dtype = names.get(written, written)
        self.shape = [size if isinstance(size, int) else None for size in inputs[0].shape]

    def bind(self, array: Any) -> Callable[[], Any]:
        """Bind an input."""
        feeds = {self._name: array}
        return lambda: self._session.run(None, feeds)[0]

    def end_profile(self) -> None:
        """Write the profile."""
        Path(self._session.end_profiling()).rename(str(self._profile))


ENGINE = OnnxEngine

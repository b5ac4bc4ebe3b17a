"""Compact vision transformers to verified, fast on-device artifacts.

The public API; every name is imported when it is first used, so that importing this package costs nothing.

The examples of the functions go on from this one, in a folder where ``photos/cat/1.png``, ``photos/dog/1.png`` and
``photos/horse/1.png`` are images:

    >>> import torch
    >>> from pathlib import Path
    >>> import mobilevit_tools as mvt
    >>> layers = torch.nn.Conv2d(3, 4, 8, 8), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
    >>> net = torch.nn.Sequential(*layers, torch.nn.Linear(4, 3))
    >>> made = mvt.export(net, name="tiny", targets="onnx", input_size=(32, 32), labels=["cat", "dog", "horse"])
    >>> artifact = made.artifacts[0].path
    >>> artifact.as_posix()
    'out/tiny/onnx-fp32/model.onnx'
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mobilevit_tools.api.bench import BenchResult, bench_rewrites
    from mobilevit_tools.api.diff import DiffResult, diff
    from mobilevit_tools.api.doctor import DoctorResult, doctor
    from mobilevit_tools.api.evaluate import evaluate
    from mobilevit_tools.api.export import export
    from mobilevit_tools.api.export_bench import ExportBench, bench_export
    from mobilevit_tools.api.finetune import FinetuneResult, finetune
    from mobilevit_tools.api.info import InfoResult, info
    from mobilevit_tools.api.inspect import InspectResult, inspect
    from mobilevit_tools.api.precision_bench import PrecisionBench, bench_precisions
    from mobilevit_tools.api.predict import PredictResult, predict
    from mobilevit_tools.api.profile import compare, profile
    from mobilevit_tools.api.report import ReportResult, report
    from mobilevit_tools.api.runtimes_bench import RuntimesBench, bench_runtimes
    from mobilevit_tools.api.smoke import smoke
    from mobilevit_tools.api.sweep import SweepResult, sweep
    from mobilevit_tools.api.verify import verify
    from mobilevit_tools.api.zoo import ZooResult, bench_zoo
    from mobilevit_tools.artifacts.exported import ExportedArtifact, ExportResult
    from mobilevit_tools.artifacts.manifest import Manifest
    from mobilevit_tools.data.contract import Contract
    from mobilevit_tools.data.preprocessing import Preprocessing
    from mobilevit_tools.devices.registry import DeviceList, probe_devices
    from mobilevit_tools.errors import (
        BadInputError,
        DeviceError,
        ExitCode,
        GateError,
        MissingDependencyError,
        MvtError,
        UsageError,
    )
    from mobilevit_tools.matrix.baseline import Margins
    from mobilevit_tools.matrix.cell import CellResult
    from mobilevit_tools.matrix.outcome import SmokeResult
    from mobilevit_tools.models.factory import create_model
    from mobilevit_tools.models.names import list_models
    from mobilevit_tools.models.own_card import Card
    from mobilevit_tools.profiling.result import ComparisonResult, ProfileResult
    from mobilevit_tools.runtimes._base import UnsupportedOperatorError
    from mobilevit_tools.verification.evaluations import (
        DetectEvalResult,
        EvalResult,
        RetrievalEvalResult,
        SegmentEvalResult,
    )
    from mobilevit_tools.verification.parity import Parity
    from mobilevit_tools.verification.result import VerifyResult

# ONNX Runtime's wheel reports usage home unless it is told not to before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_HOMES = {
    "BadInputError": "errors",
    "BenchResult": "api.bench",
    "Card": "models.own_card",
    "CellResult": "matrix.cell",
    "ComparisonResult": "profiling.result",
    "Contract": "data.contract",
    "DetectEvalResult": "verification.evaluations",
    "DeviceError": "errors",
    "DeviceList": "devices.registry",
    "DiffResult": "api.diff",
    "DoctorResult": "api.doctor",
    "EvalResult": "verification.evaluations",
    "ExitCode": "errors",
    "ExportBench": "api.export_bench",
    "ExportResult": "artifacts.exported",
    "ExportedArtifact": "artifacts.exported",
    "FinetuneResult": "api.finetune",
    "GateError": "errors",
    "InfoResult": "api.info",
    "InspectResult": "api.inspect",
    "Manifest": "artifacts.manifest",
    "Margins": "matrix.baseline",
    "MissingDependencyError": "errors",
    "MvtError": "errors",
    "Parity": "verification.parity",
    "PrecisionBench": "api.precision_bench",
    "PredictResult": "api.predict",
    "Preprocessing": "data.preprocessing",
    "ProfileResult": "profiling.result",
    "ReportResult": "api.report",
    "RetrievalEvalResult": "verification.evaluations",
    "SegmentEvalResult": "verification.evaluations",
    "SmokeResult": "matrix.outcome",
    "SweepResult": "api.sweep",
    "UnsupportedOperatorError": "runtimes._base",
    "UsageError": "errors",
    "VerifyResult": "verification.result",
    "ZooResult": "api.zoo",
    "bench_export": "api.export_bench",
    "bench_precisions": "api.precision_bench",
    "bench_rewrites": "api.bench",
    "RuntimesBench": "api.runtimes_bench",
    "bench_runtimes": "api.runtimes_bench",
    "bench_zoo": "api.zoo",
    "compare": "api.profile",
    "create_model": "models.factory",
    "diff": "api.diff",
    "doctor": "api.doctor",
    "evaluate": "api.evaluate",
    "export": "api.export",
    "finetune": "api.finetune",
    "info": "api.info",
    "inspect": "api.inspect",
    "list_models": "models.names",
    "predict": "api.predict",
    "probe_devices": "devices.registry",
    "profile": "api.profile",
    "report": "api.report",
    "smoke": "api.smoke",
    "sweep": "api.sweep",
    "verify": "api.verify",
}

__all__ = [
    "BadInputError",
    "BenchResult",
    "Card",
    "CellResult",
    "ComparisonResult",
    "Contract",
    "DetectEvalResult",
    "DeviceError",
    "DeviceList",
    "DiffResult",
    "DoctorResult",
    "EvalResult",
    "ExitCode",
    "ExportBench",
    "ExportResult",
    "ExportedArtifact",
    "FinetuneResult",
    "GateError",
    "InfoResult",
    "InspectResult",
    "Manifest",
    "Margins",
    "MissingDependencyError",
    "MvtError",
    "Parity",
    "PrecisionBench",
    "PredictResult",
    "Preprocessing",
    "ProfileResult",
    "ReportResult",
    "RetrievalEvalResult",
    "RuntimesBench",
    "SegmentEvalResult",
    "SmokeResult",
    "SweepResult",
    "UnsupportedOperatorError",
    "UsageError",
    "VerifyResult",
    "ZooResult",
    "bench_export",
    "bench_precisions",
    "bench_rewrites",
    "bench_runtimes",
    "bench_zoo",
    "compare",
    "create_model",
    "diff",
    "doctor",
    "evaluate",
    "export",
    "finetune",
    "info",
    "inspect",
    "list_models",
    "predict",
    "probe_devices",
    "profile",
    "report",
    "smoke",
    "sweep",
    "verify",
]


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("mobilevit-tools")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted((*__all__, "__version__"))

"""Results of commands as they would be found, each whole, with what a test is about changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mobilevit_tools.artifacts.exported import ExportedArtifact
from mobilevit_tools.profiling.result import ProfileResult
from mobilevit_tools.verification.evaluations import EvalResult
from mobilevit_tools.verification.parity import Parity


def parity(**changes: Any) -> Parity:
    return Parity(**{"status": "passed", "max_abs_rel": 1e-6, "snr_db": 120.0, "cosine": 1.0, "inputs": 3, **changes})


def exported(**changes: Any) -> ExportedArtifact:
    folder = Path("out/care_s0/onnx-fp32")
    whole: dict[str, Any] = {
        "target": "onnx",
        "backend": None,
        "precision": "fp32",
        "path": folder / "model.onnx",
        "manifest": folder / "manifest.json",
        "bundle": None,
        "size_bytes": 1000,
        "params": 70,
        "macs": 700,
        "parity": parity(),
        "delegation": None,
        "rewrites": (),
        "rewrite_difference": 0.0,
        "quantization": None,
        "quantized": None,
        "preflight": None,
        "seconds": {"total": 3.0},
        "kept": True,
    }
    return ExportedArtifact(**{**whole, **changes})


def measured(**changes: Any) -> ProfileResult:
    whole: dict[str, Any] = {
        "device": "count",
        "artifact": Path("out/care_s0/onnx-fp32/model.onnx"),
        "target": "onnx",
        "threads": 1,
        "rigor": "quick",
        "latency_ms": None,
        "load_ms": None,
        "first_ms": None,
        "warmup_calls": None,
        "samples_ms": (),
        "instructions": None,
        "peak_memory_bytes": None,
        "baseline_memory_bytes": None,
        "cores_used": None,
        "params": None,
        "macs": None,
        "size_bytes": 1000,
        "flags": (),
    }
    return ProfileResult(**{**whole, **changes})


def judged(**changes: Any) -> EvalResult:
    whole: dict[str, Any] = {
        "artifact": Path("out/care_s0/onnx-fp32/model.onnx"),
        "data": Path("val"),
        "images": 100,
        "top1": 0.8,
        "interval": (0.75, 0.85),
        "top5": 0.99,
        "agreement": 0.98,
        "reference_top1": 0.81,
        "non_finite": 0,
        "images_per_second": 50.0,
        "threads": 1,
        "label_rule": "labels",
        "unreadable": (),
        "classes": (),
        "confusions": (),
    }
    return EvalResult(**{**whole, **changes})

"""Compact vision transformers to verified, fast on-device artifacts.

The public API; every name is imported when it is first used, so that importing this package costs nothing.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mobilevit_tools.api.diff import diff
    from mobilevit_tools.api.evaluate import evaluate
    from mobilevit_tools.api.export import export
    from mobilevit_tools.api.info import info
    from mobilevit_tools.api.inspect import inspect
    from mobilevit_tools.api.predict import predict
    from mobilevit_tools.api.profile import profile
    from mobilevit_tools.api.report import report
    from mobilevit_tools.api.verify import verify
    from mobilevit_tools.models.factory import create_model
    from mobilevit_tools.models.names import list_models
    from mobilevit_tools.models.own_card import Card

# ONNX Runtime's wheel reports usage home unless it is told not to before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_HOMES = {
    "Card": "mobilevit_tools.models.own_card",
    "create_model": "mobilevit_tools.models.factory",
    "diff": "mobilevit_tools.api.diff",
    "evaluate": "mobilevit_tools.api.evaluate",
    "export": "mobilevit_tools.api.export",
    "info": "mobilevit_tools.api.info",
    "inspect": "mobilevit_tools.api.inspect",
    "list_models": "mobilevit_tools.models.names",
    "predict": "mobilevit_tools.api.predict",
    "profile": "mobilevit_tools.api.profile",
    "report": "mobilevit_tools.api.report",
    "verify": "mobilevit_tools.api.verify",
}

__all__ = [
    "Card",
    "create_model",
    "diff",
    "evaluate",
    "export",
    "info",
    "inspect",
    "list_models",
    "predict",
    "profile",
    "report",
    "verify",
]


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("mobilevit-tools")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted((*__all__, "__version__"))

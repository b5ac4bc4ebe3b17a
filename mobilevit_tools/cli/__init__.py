"""The ``mvt`` command: one module a verb, each of which parses, makes one library call and renders its result."""

from __future__ import annotations

import os
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``mvt`` and return its exit code, one of :class:`mobilevit_tools.errors.ExitCode`."""
    # Read once, when torch loads its OpenMP runtime: idle threads must not spin, least of all on busy cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # What people decorate with torch.compile runs as it is written: a model is run a few times, and traced.
    os.environ.setdefault("TORCH_COMPILE_DISABLE", "1")
    from mobilevit_tools.cli.app import run

    return run(arguments)

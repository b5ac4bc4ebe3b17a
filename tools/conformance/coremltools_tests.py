"""Run coremltools' own tests, as they stand in the installed wheel, on the reference runtime."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SUITES: dict[str, tuple[str, ...]] = {
    "operators": ("converters/mil/mil/ops/tests",),
    "torch": ("converters/mil/frontend/torch/test/test_torch_ops.py",),
    "models": (
        "converters/mil/frontend/torch/test/test_torch_stateful_model.py",
        "converters/mil/frontend/torch/test/test_torch_conversion_api.py",
        "converters/mil/frontend/torch/test/test_torch_export_conversion_api.py",
        "converters/mil/frontend/torch/test/test_torch_quantization_ops.py",
        "converters/mil/mil/passes/tests/test_cleanup_passes.py",
        "converters/mil/mil/passes/tests/test_quantization_passes.py",
        "test/optimize/coreml/test_post_training_quantization.py",
    ),
}
_OPERATORS = "converters/mil/mil/ops/tests"
SAMPLED = (  # of all sorts, and quick to collect
    f"{_OPERATORS}/iOS14",
    f"{_OPERATORS}/iOS15",
    f"{_OPERATORS}/iOS16",
    f"{_OPERATORS}/iOS17/test_image_resizing.py",
    f"{_OPERATORS}/iOS17/test_linear.py",
    f"{_OPERATORS}/iOS17/test_quantization.py",
    f"{_OPERATORS}/iOS18/test_recurrent.py",
    f"{_OPERATORS}/iOS18/test_states.py",
)


@dataclass(frozen=True)
class Result:
    """What one test showed.

    Attributes:
        test: Its name, from coremltools' folder on.
        verdict: ``passed``, ``half rounding``, ``unsupported``, ``refused``, ``wrong``, ``crash``, ``too slow``, ``not
            comparable``, ``no prediction`` or ``skipped``.
        why: The sentence behind it.
    """

    test: str
    verdict: str
    why: str


def run(
    tests: Sequence[str], results: Path, *, per_function: int = 0, total: int = 0, plugins: Sequence[str] = ()
) -> list[Result]:
    """Run tests in a process of its own.

    Args:
        tests: Files or folders inside of coremltools, such as those of :data:`SUITES`.
        results: Where the plugin writes to.
        per_function: How many cases of each test function run; all for 0.
        total: How many cases run at most; all for 0.
        plugins: Further plugins of pytest, which may lie beside the results.

    Raises:
        RuntimeError: pytest did not get to the tests.
    """
    spec = find_spec("coremltools")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("coremltools is not installed")
    home = Path(spec.submodule_search_locations[0])
    settings = results.with_suffix(".ini")  # without it pytest would take that of a project around the environment
    settings.write_text("[pytest]\nmarkers =\n    slow: x\n    api_breaking: x\n")
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(results.parent))),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "TORCH_FRONTENDS": "TORCHEXPORT",
    }
    command = [sys.executable, "-m", "pytest", "-c", str(settings), f"--rootdir={home}", "-p", "no:cacheprovider"]
    command += ["-p", "tools.conformance.plugin", f"--conformance-results={results}", "-qq", "--tb=no", "-W", "ignore"]
    command += [f"--conformance-per-function={per_function}", f"--conformance-total={total}"]
    command += ["--continue-on-collection-errors", *(str(home / part) for part in tests)]
    command += [option for name in plugins for option in ("-p", name)]
    finished = subprocess.run(
        command, cwd=results.parent, env=environment, capture_output=True, text=True, check=False, errors="replace"
    )
    if not results.is_file():
        raise RuntimeError(f"pytest did not get to the tests: {finished.stdout[-1000:]}{finished.stderr[-1000:]}")
    return [Result(**json.loads(line)) for line in results.read_text().splitlines()]


def counts(found: list[Result]) -> Counter[str]:
    """How many tests showed what."""
    return Counter(entry.verdict for entry in found)

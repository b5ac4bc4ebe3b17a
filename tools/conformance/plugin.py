"""pytest plugin that runs coremltools' tests on the reference runtime and writes down what each one showed.

``-p tools.conformance.plugin --conformance-results FILE [--conformance-per-function N]``. Tests of the format before ML
Programs, whose kernels are not the reference's subject, are left out.
"""

from __future__ import annotations

import hashlib
import json
import re
import signal
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mobilevit_tools.runtimes.coreml import Program
from tools.conformance import standin
from tools.conformance.verdicts import TIMEOUT_S, TookTooLongError, chain, failures

standin.install()

_OLDER = re.compile(r"neuralnetwork|nn_backend")
_HALF_ULP = 2.0**-9
"""How far two results of half-precision arithmetic may lie apart beside the largest, sums being taken in any order."""


class _Watch:
    """What happened in the test that runs."""

    def __init__(self) -> None:
        self.predictions = 0
        self.model: standin.StandIn | None = None
        self.compared: tuple[np.ndarray, np.ndarray, float, float] | None = None

    def predicted(self, model: standin.StandIn, data: Mapping[str, Any]) -> None:
        del data
        self.predictions += 1
        self.model = model

    def close_enough(self) -> bool:
        """Whether the values that differ are within what half-precision arithmetic leaves open.

        Either the same program without any rounding meets the test's own tolerance, or no value is off by more than a
        last bit.
        """
        if self.compared is None or self.model is None or self.model.program is None:
            return False
        actual, wanted, relative, absolute = self.compared
        if actual.shape == wanted.shape and actual.size and relative < 1e-3:
            off = np.abs(actual - wanted)
            if _has_halves(self.model.program) and np.nanmax(off) <= _HALF_ULP * max(np.nanmax(np.abs(wanted)), 1e-3):
                return True
        exact = self.model.program.run(self.model.arrays, "fp32")
        return any(
            np.size(value) == wanted.size
            and np.allclose(np.reshape(value, wanted.shape), wanted, relative, absolute, equal_nan=True)
            for value in exact.values()
            if isinstance(value, np.ndarray)
        )


def _has_halves(program: Program) -> bool:
    graph = program.graph
    made = [kind.element for operation in (*graph.walk(), *graph.compressed) for _, kind in operation.outputs]
    return any(element.name == "fp16" for element in (*made, *(entry.element for entry in graph.constants.values())))


_watch = _Watch()
_plain_allclose = np.testing.assert_allclose


def _watching_allclose(actual: Any, desired: Any, rtol: float = 1e-7, atol: float = 0, **options: Any) -> None:
    try:
        _plain_allclose(actual, desired, rtol, atol, **options)
    except AssertionError:
        _watch.compared = (np.asarray(actual, np.float64), np.asarray(desired, np.float64), rtol, atol)
        raise


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add where results go, and how many cases of each test function run."""
    parser.addoption("--conformance-results", required=True)
    parser.addoption("--conformance-per-function", type=int, default=0)
    parser.addoption("--conformance-total", type=int, default=0)


def pytest_configure(config: pytest.Config) -> None:
    """Start to watch predictions and comparisons."""
    standin.StandIn.watcher = _watch.predicted
    np.testing.assert_allclose = _watching_allclose
    signal.signal(signal.SIGALRM, _too_long)
    torch.set_num_threads(1)
    Path(config.getoption("--conformance-results")).unlink(missing_ok=True)


def _too_long(*_: object) -> None:
    raise TookTooLongError


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep a sample of each test function's cases, the same one each time."""
    groups: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        if not _OLDER.search(item.nodeid):
            groups[item.nodeid.split("[")[0]].append(item)
    most = config.getoption("--conformance-per-function")
    kept = [item for group in groups.values() for item in _sample(group, most)]
    items[:] = _sample(kept, config.getoption("--conformance-total"))


def _sample(items: list[pytest.Item], most: int) -> list[pytest.Item]:
    if not most or len(items) <= most:
        return items
    ranked = sorted(items, key=lambda item: hashlib.sha256(item.nodeid.encode()).digest())
    chosen = set(ranked[:most])
    return [item for item in items if item in chosen]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Run one test on seeded numbers, for a minute at most."""
    _watch.__init__()  # type: ignore[misc]
    seed = int(hashlib.sha256(item.nodeid.encode()).hexdigest()[:6], 16)
    np.random.seed(seed)
    torch.manual_seed(seed)
    signal.alarm(TIMEOUT_S)
    try:
        yield
    finally:
        signal.alarm(0)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Write down what a test showed."""
    outcome: Any = yield
    report = outcome.get_result()
    if call.when != "call" and not (call.when == "setup" and not report.passed):
        return
    verdict, why = _judge(item.nodeid, report, call.excinfo.value if call.excinfo else None)
    name = item.nodeid.split("coremltools/")[-1]
    with Path(item.config.getoption("--conformance-results")).open("a") as file:
        file.write(json.dumps({"test": name, "verdict": verdict, "why": why}) + "\n")


def _judge(test: str, report: pytest.TestReport, error: BaseException | None) -> tuple[str, str]:
    if report.passed:
        return ("passed" if _watch.predictions else "no prediction"), ""
    if report.skipped:
        return "skipped", str(getattr(report, "wasxfail", "") or error)[:200]
    return next(failures(test, chain(error), predictions=_watch.predictions, close_enough=_watch.close_enough))

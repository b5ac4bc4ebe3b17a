"""Measure what exports cost in CPU seconds, beside another installation, and in wall time for all targets at once."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import product
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory, TemporaryFile
from typing import NamedTuple

from mobilevit_tools.artifacts.versions import tool_versions
from mobilevit_tools.child import explicit
from mobilevit_tools.errors import BadInputError, UsageError
from mobilevit_tools.models.names import has_bundled_weights
from mobilevit_tools.process_state import restoring
from mobilevit_tools.profiling.statistics import median_interval
from mobilevit_tools.progress import Progress, silent
from mobilevit_tools.result import Result
from mobilevit_tools.several import several
from mobilevit_tools.targets.registry import STANDARD, named_targets

ROUNDS = 6
"""The least number of rounds for which the median of their ratios has a 95 % interval."""
TIMEOUT_S = 1800.0
_DISTRIBUTION = "mobilevit-tools"
_ASK = f"from importlib.metadata import version; print(version({_DISTRIBUTION!r}))"
_FIXED = ("PYTHONPATH", "PYTHONHOME")
"""Variables by which another interpreter would run this installation's code."""


@dataclass(frozen=True)
class ExportCost:
    """What the export of one model to one target costs, whole process with all its children.

    Attributes:
        model: The model.
        target: The target.
        seconds: CPU seconds, user and system, of each round.
        against: Those of the other installation; empty where there is none.
        ratio: The median over the rounds of this installation's seconds by the other's; None where there is none.
        interval: The 95 % interval of the ratio; None where there are too few rounds for one.
    """

    model: str
    target: str
    seconds: tuple[float, ...]
    against: tuple[float, ...] = ()
    ratio: float | None = None
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class TogetherCost:
    """How long one export to several targets takes, against the slowest of them alone.

    Attributes:
        model: The model.
        slowest: The target whose export alone takes longest, by the median of its wall time.
        seconds: Wall time in seconds of the export to all targets, of each round.
        alone: That of the export to the slowest target.
        ratio: The median over the rounds of the first by the second.
        interval: The 95 % interval of the ratio; None where there are too few rounds for one.
    """

    model: str
    slowest: str
    seconds: tuple[float, ...]
    alone: tuple[float, ...]
    ratio: float
    interval: tuple[float, float] | None = None


class _Spent(NamedTuple):
    cpu: float
    wall: float


@dataclass(frozen=True, repr=False)
class ExportBench(Result, command="bench export"):
    """What exports cost.

    Attributes:
        costs: One for each model and target, model by model.
        version: This installation's version.
        against: The other's version; None where there is none.
        tools: This installation's versions of the tools.
        together: One for each model, where that was asked for.
    """

    costs: tuple[ExportCost, ...]
    version: str
    against: str | None
    tools: Mapping[str, str]
    together: tuple[TogetherCost, ...] = ()


@restoring
def bench_export(
    models: str | Sequence[str],
    *,
    targets: str | Sequence[str] = STANDARD,
    against: str | Path | None = None,
    together: bool = False,
    rounds: int = ROUNDS,
    timeout_s: float = TIMEOUT_S,
    progress: Progress = silent,
) -> ExportBench:
    """Measure the CPU seconds of ``mvt export``, in turns with another installation: A B A B.

    Each export is a process of its own, so that imports count; a first one of each is not counted, because it fills
    caches. Models without bundled weights get random ones. CPU seconds depend far less than wall time on what else a
    machine does, and taking turns leaves in their ratio what the installations differ in.

    Args:
        models: Models, as ``mvt export`` takes them.
        targets: Export targets.
        against: The Python interpreter of an environment with another version of mobilevit-tools.
        together: Also export to all targets with one command, in turns with the others, and compare wall times.
        rounds: How often each is measured.
        timeout_s: Time limit of one export.
        progress: Told of every step.

    Raises:
        UsageError: There is no model or no such target, no round, nothing installed behind ``against``, or one
            target alone to be exported together.
        BadInputError: An export failed, or took too long.

    Example:
        >>> try:
        ...     mvt.bench_export(["care_s0"], against="no/such/python")
        ... except mvt.UsageError as error:
        ...     print(error.message)
        no/such/python runs no mobilevit-tools.
    """
    if not 0 < timeout_s < float("inf"):
        raise UsageError(f"The time limit of an export must be above 0, not {timeout_s:g} s.")
    targets = named_targets(targets)
    models = tuple(dict.fromkeys(several(models)))
    if not models or rounds < 1:
        raise UsageError("There is nothing to measure.", hint="Give a model and at least one round.")
    if together and len(targets) < 2:
        raise UsageError("One target has nothing to be exported with.", hint="Give more targets.")
    other = None if against is None else _version_behind(str(against))
    pythons = (sys.executable, *(() if against is None else (str(against),)))
    choices = [(target,) for target in targets] + ([targets] if together else [])
    costs, joint = [], []
    for model in models:
        spent: dict[tuple[str, ...], list[list[_Spent]]] = {each: [[] for _ in pythons] for each in choices}
        for turn, (chosen, taken) in product(range(rounds + 1), spent.items()):
            for python, measured in zip(pythons if len(chosen) == 1 else pythons[:1], taken, strict=False):
                with progress(f"{model} to {', '.join(chosen)}, round {turn} of {rounds}"):
                    found = _export(python, model, chosen, timeout_s)
                if turn:
                    measured.append(found)
        costs += [
            _cost(model, target, [tuple(each.cpu for each in taken) for taken in spent[(target,)]])
            for target in targets
        ]
        if together:
            alone = {target: [each.wall for each in spent[(target,)][0]] for target in targets}
            joint.append(_together(model, [each.wall for each in spent[targets][0]], alone))
    return ExportBench(tuple(costs), version(_DISTRIBUTION), other, tool_versions(), tuple(joint))


def _cost(model: str, target: str, taken: Sequence[tuple[float, ...]]) -> ExportCost:
    if len(taken) == 1:
        return ExportCost(model, target, taken[0])
    ours, theirs = taken
    return ExportCost(model, target, ours, theirs, *_ratio(ours, theirs))


def _together(model: str, seconds: Sequence[float], alone: Mapping[str, Sequence[float]]) -> TogetherCost:
    slowest = max(alone, key=lambda target: median(alone[target]))
    ratio, interval = _ratio(seconds, alone[slowest])
    return TogetherCost(model, slowest, tuple(seconds), tuple(alone[slowest]), ratio, interval)


def _ratio(a: Sequence[float], b: Sequence[float]) -> tuple[float, tuple[float, float] | None]:
    ratios = [x / y for x, y in zip(a, b, strict=True)]
    return median(ratios), median_interval(ratios)


def _environment(python: str) -> dict[str, str]:
    if python == sys.executable:
        return explicit(os.environ)
    return explicit({name: value for name, value in os.environ.items() if name not in _FIXED})


def _version_behind(python: str) -> str:
    command = [python, "-P", "-c", _ASK]
    try:
        asked = subprocess.run(
            command, env=_environment(python), capture_output=True, text=True, check=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise UsageError(
            f"{python} runs no {_DISTRIBUTION}.",
            hint="Give the Python interpreter of an environment that another version is installed in.",
        ) from error
    return asked.stdout.strip()


def _export(python: str, model: str, targets: Sequence[str], timeout_s: float) -> _Spent:
    """Export once; return the seconds of the process and of all its children that it waited for."""
    trained = has_bundled_weights(model)
    options = [*(f"--target={each}" for each in targets), *(() if trained else ("--random-weights",))]
    command = [python, "-P", "-m", "mobilevit_tools", "export", model, *options]
    with TemporaryFile() as said, TemporaryDirectory(prefix="mvt-bench-", ignore_cleanup_errors=True) as output:
        command += ("--output", output)
        start = time.monotonic()
        process = subprocess.Popen(command, env=_environment(python), stdout=said, stderr=subprocess.STDOUT)
        clock = threading.Timer(timeout_s, process.kill)
        clock.start()
        try:
            _, status, used = os.wait4(process.pid, 0)
            wall = time.monotonic() - start
        except BaseException:
            process.kill()
            process.wait()
            raise
        finally:
            clock.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            said.seek(0)
            lines = said.read().decode(errors="replace").split("\n")
            told = next((line for line in lines if line.startswith("error: ")), f"exit status {process.returncode}")
            raise BadInputError(
                f"{python} cannot export {model} to {', '.join(targets)}: {told.removeprefix('error: ')}"
            )
    return _Spent(used.ru_utime + used.ru_stime, wall)

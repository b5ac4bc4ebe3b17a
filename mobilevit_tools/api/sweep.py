"""Run a matrix of cells from a file, here or on a Ray cluster, and go on where an earlier run stopped."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from mobilevit_tools.api.given import plan_path
from mobilevit_tools.artifacts.exported import ExportedArtifact
from mobilevit_tools.errors import MvtError, UsageError
from mobilevit_tools.matrix.cell import Cell, CellResult
from mobilevit_tools.matrix.outcome import exit_code_of
from mobilevit_tools.models.references import folder_name
from mobilevit_tools.process_state import restoring
from mobilevit_tools.result import Result
from mobilevit_tools.sweeping.cluster import AUTO, RayWorkers
from mobilevit_tools.sweeping.expand import expand
from mobilevit_tools.sweeping.job import RUN_CELL, Job
from mobilevit_tools.sweeping.labels import Label, labels_of
from mobilevit_tools.sweeping.ledger import open_ledger
from mobilevit_tools.sweeping.local import LocalWorkers, default_jobs
from mobilevit_tools.sweeping.plan import read_plan
from mobilevit_tools.sweeping.schedule import Event, Watch, Workers, run_jobs
from mobilevit_tools.sweeping.table import PARQUET, Row, row_of, write_parquet

ENGINES = ("local", "ray")
OUTPUT = Path("sweep")
ARTIFACTS = "artifacts"
_DIGITS = 12


@dataclass(frozen=True, repr=False)
class SweepResult(Result, command="sweep"):
    """A whole sweep.

    Attributes:
        plan: Its file.
        output: Its folder.
        results: One JSON line a finished cell, this sweep's and earlier ones'.
        parquet: The rows as a Parquet file.
        rows: What came of every cell of the plan, in its order.
        passed: How many cells passed.
        not_verified: How many made an artifact that nothing here can run: neither passed nor failed.
        failed: How many failed a numeric gate.
        errors: How many ended in an error.
        reused: How many were finished before.
        torn: What was found of a line that a kill had cut off; None where nothing was.
        exit_code: The worst of the cells'; see :func:`sweep`.
        seconds: How long this run took.
    """

    plan: Path
    output: Path
    results: Path
    parquet: Path
    rows: tuple[Row, ...]
    passed: int
    not_verified: int
    failed: int
    errors: int
    reused: int
    torn: str | None
    exit_code: int
    seconds: float


@dataclass(frozen=True)
class Outlook:
    """What is to be done, known before the first cell starts.

    Attributes:
        labels: What people call each cell of the plan.
        reused: How many of them are finished already.
        torn: See :class:`SweepResult`.
    """

    labels: Mapping[Cell, Label]
    reused: int
    torn: str | None


Spectator = Callable[[Outlook], AbstractContextManager[Watch]]
"""Takes what is to be done; its context gives a function that is told of everything that happens to a cell."""


@contextmanager
def unwatched(outlook: Outlook) -> Iterator[Watch]:
    """Tell nobody."""
    del outlook
    yield _ignore


def _ignore(event: Event) -> None:
    del event


@restoring
def sweep(
    plan: str | Path,
    *,
    output: str | Path = OUTPUT,
    engine: str = "local",
    address: str = AUTO,
    jobs: int | None = None,
    allow_contention: bool = False,
    retry_failed: bool = False,
    keep_artifacts: bool = False,
    runner: str = RUN_CELL,
    spectator: Spectator = unwatched,
) -> SweepResult:
    """Run the cells of a plan that are not finished yet.

    A cell is finished when it made an artifact, whether that passed its gate or not, and neither its settings nor its
    checkpoint, photos or the versions of the tools have changed since. A crash, a hang or a fault of a device gets one
    more attempt. A cell whose artifact nothing here can run is ``not_verified``: no pass, and no failure.

    Args:
        plan: The plan, a TOML file; see :mod:`mobilevit_tools.sweeping.plan`.
        output: The sweep's folder; what an earlier sweep finished there is not run again.
        engine: ``local`` or ``ray``.
        address: The Ray cluster: ``auto``, ``HOST:PORT`` or ``ray://HOST:PORT``.
        jobs: Local: how many cells run side by side; by default half as many as there are CPUs.
        allow_contention: Let cells that measure time on their machine share it with others.
        retry_failed: Run cells that failed their gate again.
        keep_artifacts: Keep every artifact below ``output``; with Ray, a folder that all machines share.
        runner: The function that runs a cell, as ``module:name``; see :data:`mobilevit_tools.sweeping.job.RUN_CELL`.
        spectator: Told of what happens.

    Raises:
        BadInputError: The plan cannot be read, or has cells that could not be.
        UsageError: The options contradict each other, or another sweep is writing to ``output``.
        MissingDependencyError: Ray is not installed.
        DeviceError: No cluster answers at ``address``.
        MvtError: A cell failed, and ``result`` holds the :class:`SweepResult`. The class is that of the
            worst exit code.

    Example:
        >>> _ = Path("plan.toml").write_text('targets = ["onnx"]')
        >>> try:
        ...     mvt.sweep("plan.toml")
        ... except mvt.BadInputError as error:
        ...     print(error.message)
        plan.toml: models is missing.
    """
    started = time.perf_counter()
    path, folder = plan_path(plan), Path(output)
    described = read_plan(path)
    labels = labels_of(expand(described, path.parent))
    open_workers = _engine(engine, address, jobs)
    with open_ledger(folder) as ledger:
        queue = [_job(cell, described.timeout, folder if keep_artifacts else None, runner) for cell in labels]
        waiting = [job for job in queue if not _is_finished(ledger.results, job, retry_failed=retry_failed)]
        reused = len(queue) - len(waiting)
        with spectator(Outlook(labels, reused, ledger.torn)) as watch:
            if waiting:
                if keep_artifacts:
                    (folder / ARTIFACTS).mkdir(exist_ok=True)
                with closing(open_workers()) as workers:
                    for finished in run_jobs(waiting, workers, allow_contention=allow_contention, watch=watch):
                        ledger.append(finished)
        results = [ledger.results[job.digest] for job in queue]
        for each in results:
            ledger.confirm(each)  # an earlier checkpoint may be back
        rows = tuple(row_of(each, label) for each, label in zip(results, labels.values(), strict=True))
        write_parquet(rows, folder / PARQUET)
        statuses = [each.status for each in results]
        result = SweepResult(
            plan=path,
            output=folder,
            results=ledger.path,
            parquet=folder / PARQUET,
            rows=rows,
            passed=statuses.count("passed"),
            not_verified=statuses.count("not_verified"),
            failed=statuses.count("failed"),
            errors=statuses.count("error"),
            reused=reused,
            torn=ledger.torn,
            exit_code=exit_code_of(results),
            seconds=round(time.perf_counter() - started, 3),
        )
    if result.exit_code:
        raise _error(result)
    return result


def _engine(engine: str, address: str, jobs: int | None) -> Callable[[], Workers]:
    if engine == "local":
        if address != AUTO:
            raise UsageError("--address requires the Ray engine.", hint="Give --engine ray.")
        return lambda: LocalWorkers(jobs or default_jobs())
    if engine != "ray":
        raise UsageError(f"There is no engine {engine!r}.", hint=f"Engines: {', '.join(ENGINES)}.")
    if jobs is not None:
        raise UsageError(
            "--jobs has no effect on a cluster, which schedules by CPUs.",
            hint="Start its nodes with `ray start --num-cpus`.",
        )
    return lambda: RayWorkers(address)


def _job(cell: Cell, timeout_s: float, keep: Path | None, runner: str) -> Job:
    digest = cell.digest()
    name = re.sub(r"[^\w.@-]+", "-", replace(cell, model=folder_name(cell.model)).name)
    folder = None if keep is None else keep.absolute() / ARTIFACTS / f"{name}-{digest[:_DIGITS]}"
    return Job(cell, digest, folder, timeout_s, runner)


def _is_finished(results: Mapping[str, CellResult], job: Job, *, retry_failed: bool) -> bool:
    result = results.get(job.digest)
    if result is None or result.status == "error":
        return False
    if result.status == "failed":
        return not retry_failed
    return job.folder is None or _is_kept(result.artifact, job.folder)


def _is_kept(made: ExportedArtifact | None, folder: Path) -> bool:
    """Tell whether a cell's artifact is in its folder; the sweep may have been moved since."""
    if made is None or not made.kept:
        return False
    _, found, inside = str(made.path).partition(f"/{folder.name}/")
    return bool(found) and (folder / inside).exists()


def _error(result: SweepResult) -> MvtError:
    kind = next((each for each in MvtError.__subclasses__() if each.exit_code == result.exit_code), MvtError)
    gates = f"{result.failed} of {len(result.rows)} cells failed their gate" if result.failed else ""
    errors = f"{result.errors} of {len(result.rows)} cells ended in an error" if result.errors else ""
    return kind(
        f"{' and '.join(part for part in (gates, errors) if part)}.",
        hint=f"{result.results} lists the command that reproduces each.",
        code="sweep_failed",
        result=result,
    )

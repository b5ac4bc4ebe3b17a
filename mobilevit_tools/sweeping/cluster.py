"""The cells of a sweep on a Ray cluster, whose nodes say which devices hang on them.

A device is a custom resource of its node, ``device:`` and the name that the plan uses: a phone is
``device:adb:SERIAL``, a machine that may measure itself is ``device:host``. A cell that measures time on the machine
that runs it is sent to one such node and claims all of the node's CPUs, so that neither this sweep nor anyone else on
the cluster runs anything beside it.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import gettempdir
from typing import TYPE_CHECKING, TypedDict, cast

from mobilevit_tools.errors import DeviceError, ExitCode, MissingDependencyError, UsageError
from mobilevit_tools.matrix.cell import CellResult
from mobilevit_tools.sweeping.child import Child
from mobilevit_tools.sweeping.job import Job

if TYPE_CHECKING:
    from ray import ObjectRef

AUTO = "auto"
"""The cluster that this machine belongs to."""
_CLIENT = "ray://"
_CONNECT_S = 10.0
_POLL_S = 1.0
_RESOURCE = "device:"
_PRESENCE = 0.001
"""Claimed of a device that cells may share: it must be there, no more."""


@dataclass(frozen=True)
class _Node:
    """A machine of the cluster.

    Attributes:
        id: Ray's identifier.
        cpus: How many CPUs it offers.
        devices: What hangs on it, as a plan names it.
    """

    id: str
    cpus: int
    devices: frozenset[str]


class _Described(TypedDict):
    """What Ray tells of a node, as far as it matters here."""

    NodeID: str
    Alive: bool
    Resources: Mapping[str, float]


class RayWorkers:
    """A connection to a cluster, and the cells that run there. A process has one at a time."""

    def __init__(self, address: str) -> None:
        """Connect to ``auto`` (the cluster that this machine belongs to), ``HOST:PORT`` or ``ray://HOST:PORT``.

        Raises:
            MissingDependencyError: Ray is not installed.
            UsageError: ``address`` is none of these.
            DeviceError: No cluster answers there.
        """
        _connect(address)
        self._running: dict[ObjectRef[CellResult], tuple[Job, _Node | None]] = {}
        self._nodes = _nodes()

    def refusal(self, job: Job) -> CellResult | None:
        """Return the error of a cell whose device no node offers, or None."""
        if any(self._suits(node, job) for node in self._nodes):
            return None
        if not job.needs.timed:
            return job.error(
                "no_cpus", "No machine of the cluster has a CPU for cells.", exit_code=ExitCode.DEVICE_FAILED
            )
        resources = f'{{"{_RESOURCE}{job.cell.device}": 1}}'
        return job.error(
            "no_such_device",
            f"No machine of the cluster provides {job.cell.device}.",
            hint=f"On the machine with the device: ray start --address=HOST:PORT --resources='{resources}'",
            exit_code=ExitCode.DEVICE_FAILED,
        )

    def start(self, job: Job, *, alone: bool) -> bool:
        """Start a cell, if the cluster has room for it now."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        resources: dict[str, float] = {}
        if job.needs.timed:
            shared = job.needs.device is None and not alone
            resources[f"{_RESOURCE}{job.cell.device}"] = _PRESENCE if shared else 1
        node, cpus = None, 1
        where: str | NodeAffinitySchedulingStrategy = "SPREAD"
        if alone:
            taken = {other.id for _, other in self._running.values() if other is not None}
            node = next((each for each in self._nodes if self._suits(each, job) and each.id not in taken), None)
            if node is None:
                return False
            cpus, where = node.cpus, NodeAffinitySchedulingStrategy(node.id, soft=False)
        elif len(self._running) >= sum(each.cpus for each in self._nodes):
            return False
        task = ray.remote(_run).options(num_cpus=cpus, resources=resources, scheduling_strategy=where, max_retries=0)
        self._running[task.remote(job)] = (job, node)
        return True

    def wait(self) -> Sequence[tuple[Job, CellResult]]:
        """Wait for a moment, and return the cells that ended or lost their machine meanwhile."""
        import ray

        if not self._running:
            time.sleep(_POLL_S)
        done = ray.wait(list(self._running), timeout=_POLL_S)[0] if self._running else []
        ended = [(self._running.pop(task)[0], task) for task in done]
        results = [(job, _result(job, task)) for job, task in ended]
        self._nodes = _nodes()
        for task, (job, _) in tuple(self._running.items()):
            refused = self.refusal(job)  # it would wait forever
            if refused is not None:
                ray.cancel(task, force=True)
                del self._running[task]
                results.append((job, refused))
        return results

    def close(self) -> None:
        """End what still runs, and disconnect."""
        import ray

        for task in self._running:
            ray.cancel(task, force=True)
        if self._running:
            ray.wait(list(self._running), num_returns=len(self._running), timeout=_CONNECT_S)
        ray.shutdown()

    @staticmethod
    def _suits(node: _Node, job: Job) -> bool:
        return node.cpus > 0 and (not job.needs.timed or job.cell.device in node.devices)


def _run(job: Job) -> CellResult:
    """Run a cell on this worker; when the worker is killed, so is the cell."""
    return Child(job, {}).result()


def _connect(address: str) -> None:
    if find_spec("ray") is None:
        raise MissingDependencyError(
            "Sweeps on a cluster need Ray, which is not installed.", hint="pip install 'mobilevit-tools[ray]'"
        )
    if address == AUTO:
        address = _current_cluster() or AUTO
    if address.startswith(_CLIENT) and find_spec("grpc") is None:
        raise MissingDependencyError(
            "Addresses with ray:// need Ray's client, which is not installed.",
            hint="pip install 'ray[client]', or run the sweep on a machine of the cluster.",
        )
    if address != AUTO and not address.startswith(_CLIENT):
        _check_answers(address)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault(
        "RAY_NUM_REDIS_GET_RETRIES", "1"
    )  # how often Ray knocks itself, each time for most of a minute
    import ray

    at_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, at_sigterm)  # Ray put its own there, which asks nobody
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")
        raise DeviceError(
            f"The Ray cluster at {address} cannot be used: {reason}.",
            hint="Start one: ray start --head --disable-usage-stats --include-dashboard=false",
            code="no_cluster",
        ) from error


def _current_cluster() -> str | None:
    """Return the address that Ray finds by itself, or None; it may be of a cluster that was killed."""
    noted = Path(os.environ.get("RAY_TMPDIR") or gettempdir(), "ray", "ray_current_cluster")
    try:
        return os.environ.get("RAY_ADDRESS") or noted.read_text(encoding="utf-8").strip() or None
    except OSError:
        return None


def _check_answers(address: str) -> None:
    """Knock first: Ray itself waits for minutes where nobody is at home."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise UsageError(
            f"{address!r} is not the address of a Ray cluster.", hint="Write auto, HOST:PORT or ray://HOST:PORT."
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S).close()
    except OSError as error:
        raise DeviceError(
            f"Nothing answers at {address}: {error.strerror or error}.",
            hint="`ray start --head` prints the address of a cluster.",
            code="no_cluster",
        ) from error


def _nodes() -> list[_Node]:
    import ray

    nodes = cast("Callable[[], list[_Described]]", ray.nodes)  # has no types of its own
    return [
        _Node(
            id=node["NodeID"],
            cpus=int(node["Resources"].get("CPU", 0)),
            devices=frozenset(
                name.removeprefix(_RESOURCE)
                for name, quantity in node["Resources"].items()
                if name.startswith(_RESOURCE) and quantity >= 1
            ),
        )
        for node in nodes()
        if node["Alive"]
    ]


def _result(job: Job, task: ObjectRef[CellResult]) -> CellResult:
    import ray
    from ray.exceptions import RayError, RayTaskError

    try:
        return ray.get(task)
    except RayTaskError as error:
        last = str(error).strip().splitlines()[-1]
        missing = "No module named" in last
        return job.error(
            "worker_failed",
            f"A machine of the cluster could not start the cell: {last}.",
            hint="Install the same mobilevit-tools on every machine of the cluster." if missing else None,
            exit_code=ExitCode.MISSING_DEPENDENCY if missing else ExitCode.INTERNAL,
        )
    except RayError as error:
        return job.error("worker_lost", f"The cell's machine or worker was lost ({type(error).__name__}).")

"""`iphone[:UDID]`: a Core ML package on an iPhone, from a Mac, through coremltools' device tools and Xcode."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections import Counter
from collections.abc import Mapping
from time import monotonic
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Self

from mobilevit_tools.devices._base import Device, OperatorTime, Readiness, RunRequest, RunResult, Timing, check_target
from mobilevit_tools.errors import BadInputError, DeviceError, MissingDependencyError, MvtError, UsageError, first_line
from mobilevit_tools.runtimes.registry import check_threads

if TYPE_CHECKING:
    from coremltools.models.ml_program.experimental.async_wrapper import MLModelAsyncWrapper

TEAM_VARIABLE = "MVT_APPLE_TEAM"
_PROGRAMS = ("xcrun", "xcodebuild")
_UNITS: Mapping[str, str] = MappingProxyType(
    {
        "MLNeuralEngineComputeDevice": "neural_engine",
        "MLGPUComputeDevice": "gpu",
        "MLCPUComputeDevice": "cpu",
    }
)


class IphoneDevice(Device):
    """An iPhone attached to this Mac. Xcode builds and signs coremltools' runner app, and installs it."""

    def __init__(self, udid: str | None) -> None:
        self.name = f"iphone:{udid}" if udid else "iphone"
        self._udid = udid

    def measure(self, request: RunRequest) -> RunResult:
        """Run a Core ML package; see `Device.measure`. Operator times are Core ML's estimates, scaled to the mean."""
        check_target("iphone", request.artifact)
        check_threads(request.artifact, request.threads)
        _check_mac()
        try:
            return asyncio.run(asyncio.wait_for(self._measure(request), request.timeout_s))
        except MvtError:
            raise
        except TimeoutError as error:
            raise DeviceError(
                f"{self.name} did not end within {request.timeout_s:g} s and was stopped.",
                hint="Run it again: the first run also builds and installs an app.",
                code="device_hangs",
            ) from error
        except Exception as error:  # coremltools raises whatever Xcode's tools made it raise
            raise DeviceError(
                f"{self.name} failed: {first_line(error).rstrip('.')}.",
                hint="Unlock it, trust this Mac and enable developer mode.",
            ) from error

    async def _measure(self, request: RunRequest) -> RunResult:
        from coremltools.models.ml_program.experimental.async_wrapper import MLModelAsyncWrapper
        from coremltools.models.ml_program.experimental.remote_device import AppSigningCredentials

        input_name, output_name = _names(request)
        credentials = AppSigningCredentials(development_team=os.environ[TEAM_VARIABLE])
        chosen = _choose(self._udid)
        self.name, self._udid = f"iphone:{chosen.udid}", chosen.udid  # the next measurement is on the same phone
        phone = await chosen.prepare_for_model_debugging(credentials=credentials)
        try:
            model = MLModelAsyncWrapper.from_spec_or_path(str(request.artifact), weights_dir="", device=phone)
            await model.load()
            load_ns = model.load_duration_in_nano_seconds
            if load_ns is None:
                raise DeviceError("The iPhone did not report the load time.", code="bad_answer")
            parts = request.inputs[:, None]  # Core ML packages of ours have a batch of one
            first = {input_name: parts[0]}
            warmup = await _warm_up(model, first, request)
            samples = await _times(model, first, request.iterations, request.seconds)
            outputs = [(await model.predict({input_name: part}))[output_name] for part in parts]
            placement, weights = await _placement(model)
            await model.unload()
        finally:
            if phone.session is not None:
                phone.session.stop()
        import numpy as np

        mean = sum(samples) / len(samples)
        return RunResult(
            device=f"{phone.name}, iOS {phone.os_version} ({self.name})",
            outputs=np.concatenate(outputs),
            timing=Timing(load_ns / 1e6, tuple(warmup), tuple(samples)),
            planned_bytes=None,
            maxrss_bytes=None,
            threads=request.threads,
            per_op=tuple(OperatorTime(kind, kind, mean * weight) for kind, weight in weights)
            if request.per_op
            else None,
            placement=placement,
        )

    def probe(self) -> Readiness:
        """Ready on a Mac with Xcode, a signing team and this iPhone, or only one."""
        try:
            _check_mac()
            phone = _choose(self._udid)
        except (DeviceError, MissingDependencyError) as error:
            return Readiness(self.name, ready=False, detail=error.message, remedy=error.hint)
        return Readiness(f"iphone:{phone.udid}", ready=True, detail=f"{phone.name}, iOS {phone.os_version}.")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Each measurement stops the app that it started."""


def _is_mac() -> bool:
    return sys.platform == "darwin"


def _check_mac() -> None:
    """Raise `MissingDependencyError` unless this is a Mac that can build and sign the runner app."""
    if not _is_mac():
        raise MissingDependencyError(
            "The iphone device requires macOS.",
            hint="Run mvt on a Mac with Xcode, with the iPhone attached.",
        )
    for program in _PROGRAMS:
        if shutil.which(program) is None:
            raise MissingDependencyError(
                f"{program} is not installed.", hint="Install Xcode, then: xcode-select --install"
            )
    if not os.environ.get(TEAM_VARIABLE):
        raise MissingDependencyError(
            f"{TEAM_VARIABLE} is not set; it is required to sign the runner app.",
            hint=f"export {TEAM_VARIABLE}=YOURTEAMID (it is in Xcode's settings, under Accounts)",
        )


def _choose(udid: str | None) -> Any:
    """Return coremltools' device for this iPhone, or the only one.

    Raises:
        DeviceError: It is not connected, there is more than one, or Xcode's tools cannot list them.
    """
    from coremltools.models.ml_program.experimental.remote_device import Device as Phone
    from coremltools.models.ml_program.experimental.remote_device import DeviceType

    try:
        connected = Phone.get_connected_devices(DeviceType.IPHONE)
    except Exception as error:  # coremltools raises whatever devicectl made it raise
        raise DeviceError(
            f"The connected iPhones cannot be listed: {first_line(error).rstrip('.')}.",
            hint="Test it with: xcrun devicectl list devices",
        ) from error
    matching = [phone for phone in connected if udid in {None, phone.udid}]
    listed = ", ".join(phone.udid for phone in connected)
    if not connected:
        raise DeviceError("No iPhone is connected.", hint="Attach one, unlock it, and trust this Mac.")
    if not matching:
        raise DeviceError(f"No connected iPhone has the UDID {udid!r}.", hint=f"Connected: {listed}.")
    if len(matching) > 1:
        raise DeviceError(
            f"{len(matching)} iPhones are connected: {listed}.", hint=f"Name one, such as iphone:{connected[0].udid}"
        )
    return matching[0]


def _names(request: RunRequest) -> tuple[str, str]:
    """Return the names of the package's input and first output.

    Raises:
        BadInputError: The package takes something else than one tensor.
    """
    from coremltools.models.utils import load_spec

    description = load_spec(str(request.artifact)).description
    if len(description.input) != 1 or description.input[0].type.WhichOneof("Type") != "multiArrayType":
        raise BadInputError(
            f"{request.artifact.name} does not take one tensor.", hint="Export it with a tensor as its input."
        )
    return description.input[0].name, description.output[0].name


async def _timed(model: MLModelAsyncWrapper, inputs: Mapping[str, Any]) -> float:
    """Run once; return the milliseconds that Core ML took on the phone, without the transfer."""
    await model.predict(inputs)
    nanoseconds = model.last_predict_duration_in_nano_seconds
    if nanoseconds is None:
        raise DeviceError("The iPhone did not report the prediction time.", code="bad_answer")
    return float(nanoseconds) / 1e6


async def _times(model: MLModelAsyncWrapper, inputs: Mapping[str, Any], count: int, seconds: float) -> list[float]:
    """Run ``count`` times, and for ``seconds`` that pass here, at least; return the milliseconds of each run."""
    times: list[float] = []
    started = monotonic()
    while len(times) < count or monotonic() - started < seconds:
        times.append(await _timed(model, inputs))
    return times


async def _warm_up(model: MLModelAsyncWrapper, inputs: Mapping[str, Any], request: RunRequest) -> list[float]:
    """Warm up, then go on until the runs are steady, or the caps are reached; return the milliseconds of each run."""
    times = await _times(model, inputs, request.warmup, request.warmup_s)
    settling = request.settling
    if settling is None:
        return times
    started, most = monotonic(), len(times) + settling.max_runs
    while not settling.is_steady(times):
        for _ in range(settling.window):
            if len(times) >= most or monotonic() - started >= settling.max_seconds:
                return times
            times.append(await _timed(model, inputs))
    return times


async def _placement(model: MLModelAsyncWrapper) -> tuple[tuple[tuple[str, int], ...], list[tuple[str, float]]]:
    """Return how many operators each compute unit gets, and each operator's share of the estimated cost."""
    from coremltools.models.ml_program.experimental.model_structure_path import map_model_structure_to_path

    plan = await model.retrieve_compute_plan()
    units: Counter[str] = Counter()
    weights = []
    for operation, _ in map_model_structure_to_path(model_structure=plan.model_structure):
        usage = plan.get_compute_device_usage_for_mlprogram_operation(operation)
        if usage is None:  # constants run nowhere
            continue
        unit = type(usage.preferred_compute_device).__name__
        units[_UNITS.get(unit, unit)] += 1
        cost = plan.get_estimated_cost_for_mlprogram_operation(operation)
        weights.append((operation.operator_name, cost.weight if cost is not None else 0.0))
    return tuple(sorted(units.items())), weights


def open_device(argument: str | None) -> IphoneDevice:
    """Return the iPhone with this UDID, or the only one.

    Raises:
        UsageError: The UDID is malformed.
    """
    if argument is not None and not argument.replace("-", "").isalnum():
        raise UsageError(f"{argument!r} is not an iPhone UDID.", hint="Phones that are connected: mvt devices.")
    return IphoneDevice(argument)


def probe() -> tuple[Readiness, ...]:
    """Tell whether an iPhone can be used, and if not, what is missing first."""
    return (IphoneDevice(None).probe(),)

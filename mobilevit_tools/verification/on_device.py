"""The verdict on a device: what it computes against the PyTorch float32 model, and against this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mobilevit_tools.devices import Partitioning, RunRequest, open_device
from mobilevit_tools.devices.registry import targets_of
from mobilevit_tools.errors import DeviceError, UsageError
from mobilevit_tools.runtimes._base import Session, TensorInfo, UnsupportedOperatorError, numpy_type, only_input
from mobilevit_tools.targets.registry import target_of
from mobilevit_tools.verification.batches import batches
from mobilevit_tools.verification.metrics import Distance, distance, worst
from mobilevit_tools.verification.parity import Parity
from mobilevit_tools.verification.reference import Reference
from mobilevit_tools.verification.running import verify_session

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from mobilevit_tools.verification.inputs import VerificationInput
    from mobilevit_tools.verification.tolerances import Tolerance

TIMEOUT_S = 1800.0
"""An emulated device takes minutes where a phone takes a second."""


@dataclass(frozen=True)
class DeviceVerification:
    """What a device computed.

    Attributes:
        device: Where it ran, in full.
        parity: Its figures against PyTorch, and the verdict.
        difference: Its distance from what this machine computes; None where this machine cannot run the artifact, or
            gets what is not finite, and of a detector, whose runner returns what it detects.
        agreement: The share of the images that have the same top-1 there as on this machine; None where ``difference``
            is, or there are no scores.
        partitioning: What the device's accelerator takes, where it tells.
    """

    device: str
    parity: Parity
    difference: Distance | None
    agreement: float | None = None
    partitioning: Partitioning | None = None


def check_device(device: str, artifact: Path) -> None:
    """Refuse a device that does not run artifacts of this target, before anything is loaded.

    Raises:
        UsageError: It does not, or there is no such device.
        BadInputError: The artifact is none that mvt knows.
    """
    runnable, target = targets_of(device), target_of(artifact)
    if target.name not in runnable or (device == "host" and target.native_runner is None):
        raise UsageError(
            f"{device} does not run {target.name} artifacts: it runs {', '.join(runnable)}.",
            hint="`mvt devices` lists the others; without --device, the artifact is verified on this host.",
            code="wrong_target",
        )
    if device == "count":
        raise UsageError(
            "The count device computes the same numbers as this host.", hint="Omit --device, or pass host."
        )


def verify_on_device(
    device: str,
    artifact: Path,
    session: Session,
    *,
    reference: Reference,
    inputs: Sequence[VerificationInput],
    tolerance: Tolerance,
) -> DeviceVerification:
    """Run all inputs on a device, in one run there, and judge what comes back by ``tolerance``.

    Args:
        device: As in ``--device``.
        artifact: The artifact.
        session: The artifact on this machine.
        reference: The PyTorch model.
        inputs: What to run; those that the artifact's input cannot express are left out.
        tolerance: The gate.

    Raises:
        BadInputError: The artifact has not one input, or gives no numbers.
        DeviceError: The device failed.
        UsageError: The artifact has more outputs than the runner returns.
    """
    detector = session.contract is not None and session.contract.output == "boxes"
    if len([output for output in session.outputs if output.kind != "label"]) > 1 and not detector:
        raise several_outputs(artifact, len(session.outputs))
    info = only_input(session)
    # Devices run a free batch one image at a time.
    info = replace(info, shape=(info.batch, *info.shape[1:]))
    feeds = [batch.array.astype(numpy_type(info)) for batch in batches(info, inputs)]
    request = RunRequest(
        artifact, np.concatenate(feeds), warmup=0, iterations=1, timeout_s=TIMEOUT_S, suppress=detector
    )
    with open_device(device) as opened:
        if detector and not opened.suppresses:
            raise several_outputs(artifact, len(session.outputs))
        ran = opened.measure(request)
    if len(ran.outputs) != (count := sum(map(len, feeds))):
        raise DeviceError(f"{device} returned {len(ran.outputs)} outputs for {count} inputs.", code="bad_answer")
    outputs = np.split(ran.outputs, len(feeds))
    apart, agreement = (None, None) if detector else _apart(session, feeds, outputs)
    return DeviceVerification(
        ran.device,
        verify_session(_Ran(session, info, outputs), reference, inputs, tolerance),
        apart,
        agreement,
        ran.partitioning,
    )


def several_outputs(artifact: Path, count: int) -> UsageError:
    """Return the refusal of an artifact of which a device returns only the first output."""
    return UsageError(
        f"{artifact} has {count} outputs, but devices return only the first.",
        hint="Use this machine, without --device.",
    )


def _apart(
    session: Session, feeds: Sequence[NDArray[Any]], outputs: Sequence[NDArray[Any]]
) -> tuple[Distance | None, float | None]:
    with suppress(UnsupportedOperatorError):
        here = [session.run(feed)[0] for feed in feeds]
        alike = all(wanted.shape == got.shape for wanted, got in zip(here, outputs, strict=True))
        if not alike or not all(np.isfinite(wanted).all() for wanted in here):
            return None, None
        apart = worst([distance(wanted, got) for wanted, got in zip(here, outputs, strict=True)])
        if here[0].ndim != 2:
            return apart, None
        same = np.concatenate(here).argmax(axis=1) == np.concatenate(outputs).argmax(axis=1)
        return apart, float(same.mean())
    return None, None


class _Ran(Session):
    """An artifact that has run elsewhere: gives what came back, in the order of the inputs."""

    def __init__(self, session: Session, info: TensorInfo, outputs: Sequence[NDArray[Any]]) -> None:
        self.inputs, self.outputs = (info,), session.outputs
        self.contract, self.metadata = session.contract, session.metadata
        if self.contract is not None and self.contract.output == "boxes":  # the runner has chosen among them
            self.contract = replace(self.contract, output="detections", outputs=())
        self._outputs = iter(outputs)
        self._session = session

    def prepare(self, array: NDArray[Any]) -> Callable[[], object]:
        """Return a call that gives the next outputs; see the base class."""
        return lambda: self.run(array)

    def run(self, array: NDArray[Any]) -> list[NDArray[Any]]:  # noqa: ARG002
        """Give the next outputs; see the base class."""
        return [next(self._outputs)]

    def operators(self) -> Mapping[str, int]:
        """Count operators by type; see the base class."""
        return self._session.operators()

    def close(self) -> None:
        """Leave the session to its owner."""

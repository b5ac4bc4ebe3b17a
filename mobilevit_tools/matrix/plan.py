"""Which cells a matrix has: what was asked for by name must be possible, what was not is left out and said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

from mobilevit_tools.devices.registry import find_kind, targets_of
from mobilevit_tools.errors import UsageError
from mobilevit_tools.matrix.cell import Cell
from mobilevit_tools.models.names import has_bundled_weights
from mobilevit_tools.targets.precisions import PRECISIONS
from mobilevit_tools.targets.registry import STANDARD, find_target, no_such_backend


@dataclass(frozen=True)
class Axes:
    """What to cross.

    Attributes:
        models: Models, as ``mvt export`` takes them.
        targets: Export targets; None takes all that have the precision.
        precisions: Precisions.
        backends: ExecuTorch backends; empty takes the default one.
        devices: Where to run the artifacts after the export; empty exports and verifies only.
        calibration: A folder of photos for the precisions that are calibrated.
        calibration_size: How many of them to use; None takes the default.
    """

    models: tuple[str, ...]
    targets: tuple[str, ...] | None = None
    precisions: tuple[str, ...] = ("fp32",)
    backends: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    calibration: str | None = None
    calibration_size: int | None = None


@dataclass(frozen=True)
class Plan:
    """The cells of a matrix.

    Attributes:
        cells: The cells, in the order in which they run.
        left_out: What nobody asked for by name and is not possible, a sentence each.
    """

    cells: tuple[Cell, ...]
    left_out: tuple[str, ...]


def plan_cells(axes: Axes, template: Cell) -> Plan:
    """Cross the axes; everything else is taken from ``template``.

    Raises:
        UsageError: A target, precision, backend or device does not exist, or does not go with the others that were
            asked for.
    """
    _check_precisions(axes.precisions)
    for device in axes.devices:
        find_kind(device)
    targets = STANDARD if axes.targets is None else tuple(dict.fromkeys(axes.targets))
    unused = [name for name in axes.backends if not any(find_target(target).backend(name) for target in targets)]
    if unused:
        raise no_such_backend(unused[0], targets)
    cells: list[Cell] = []
    left_out: list[str] = []
    for model in dict.fromkeys(axes.models):
        weightless = template.random_weights and not has_bundled_weights(model)
        base = replace(template, model=model, random_weights=weightless)
        for target in targets:
            for precision in dict.fromkeys(axes.precisions):
                for backend in _backends(target, axes.backends):
                    made = _made(base, axes, left_out, target=target, precision=precision, backend=backend)
                    if made is not None:
                        cells += _on_devices(made, axes, left_out)
    if not cells:
        raise UsageError("Nothing of this matrix is possible.", hint=" ".join(dict.fromkeys(left_out)))
    return Plan(tuple(cells), tuple(dict.fromkeys(left_out)))


def _check_precisions(precisions: Sequence[str]) -> None:
    for name in precisions:
        if name not in PRECISIONS:
            nearest = get_close_matches(name, PRECISIONS, n=1, cutoff=0.4)
            raise UsageError(
                f"There is no precision named {name!r}.",
                hint=f"Did you mean {nearest[0]}?" if nearest else f"Precisions: {', '.join(PRECISIONS)}.",
                code="unknown_precision",
            )


def _backends(target: str, wanted: Sequence[str]) -> tuple[str | None, ...]:
    return tuple(name for name in dict.fromkeys(wanted) if find_target(target).backend(name)) or (None,)


def _made(
    base: Cell, axes: Axes, left_out: list[str], *, target: str, precision: str, backend: str | None
) -> Cell | None:
    """Return the cell of a target in a precision; None where it is not possible and nobody asked for it by name."""
    photos = axes.calibration, axes.calibration_size
    calibration, size = photos if PRECISIONS[precision].takes_photos else (None, None)
    try:
        return replace(
            base,
            target=target,
            precision=precision,
            backend=backend,
            calibration=calibration,
            calibration_size=size,
        )
    except UsageError as error:
        if axes.targets is not None or backend is not None:
            raise
        left_out.append(error.message)
        return None


def _on_devices(cell: Cell, axes: Axes, left_out: list[str]) -> Iterator[Cell]:
    """Yield a cell for each device that runs the artifact; without a device where none does."""
    running: list[str | None] = []
    for device in dict.fromkeys(axes.devices):
        if cell.target in targets_of(device):
            running.append(device)
            continue
        reason = f"{cell.target} artifacts do not run on {device}."
        if axes.targets is not None:
            raise UsageError(reason, hint="Omit --target, or run the two separately.", code="no_runner")
        left_out.append(reason)
    for each in running or [None]:
        yield replace(cell, device=each)

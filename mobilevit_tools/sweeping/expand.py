"""From a plan to its cells: everything that could not be is refused before the first one runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import combinations, product
from pathlib import Path

from mobilevit_tools.devices.registry import open_device, targets_of
from mobilevit_tools.errors import BadInputError, UsageError
from mobilevit_tools.exporters._base import ExportSpec
from mobilevit_tools.matrix.cell import Cell
from mobilevit_tools.profiling.protocol import RIGORS
from mobilevit_tools.sweeping.entries import existing, keyed, template_of
from mobilevit_tools.sweeping.needs import same_device
from mobilevit_tools.sweeping.plan import NO_DEVICE, ExcludeRule, Plan
from mobilevit_tools.targets.precisions import PRECISIONS
from mobilevit_tools.targets.registry import find_target

MAX_CELLS = 10_000
_SHOWN = 4


@dataclass(frozen=True)
class _Spot:
    """What a cell is beside its model."""

    target: str
    backend: str | None
    precision: str
    device: str | None

    @property
    def variant(self) -> str:
        return f"{self.target}-{self.backend}" if self.backend else self.target


def expand(plan: Plan, base: Path) -> tuple[Cell, ...]:
    """Return the cells of a plan in its order: models, then targets, precisions and devices.

    Args:
        plan: The plan.
        base: The folder to which its paths are relative.

    Raises:
        BadInputError: Something that the plan names does not exist, does not go with the rest or is there twice, or a
            rule matches no cell.
    """
    if len(plan.models) * len(plan.targets) * len(plan.precisions) * len(plan.devices) > MAX_CELLS:
        raise BadInputError(f"The plan has more than {MAX_CELLS} cells.", code="bad_plan")
    spots = _spots(plan)
    with keyed("calibration"):
        calibration = None if plan.calibration is None else existing(plan.calibration, base)
    with keyed("eval"):
        eval_data = None if plan.eval is None else existing(plan.eval, base)
    unused = set(range(len(plan.exclude)))
    refused: dict[str, str] = {}
    cells: dict[Cell, None] = {}
    for index, entry in enumerate(plan.models):
        template = template_of(entry, f"models[{index}]", base)
        with keyed("class_order"):
            template = replace(template, eval_data=eval_data, class_order=plan.class_order)
        for spot in spots:
            rules = {number for number, rule in enumerate(plan.exclude) if _matches(rule, entry.name, spot)}
            unused -= rules
            if rules:
                continue
            if refusal := _refusal(spot, plan):
                refused |= refusal
                continue
            cell = _cell(template, spot, plan, calibration)
            if cell in cells:
                raise BadInputError(f"models[{index}] repeats {cell.name}.", code="bad_plan")
            cells[cell] = None
    if unused:
        raise BadInputError(f"exclude[{min(unused)}] matches no cell.", hint="Check the spelling.", code="bad_plan")
    if refused:
        raise BadInputError(
            f"The plan contains unsupported cells: {_first(list(refused), ' ')}",
            hint=f"Change it, or add at the top of the plan: exclude = [{_first(list(refused.values()), ', ')}]",
            code="impossible_cells",
        )
    if not cells:
        raise BadInputError("The plan excludes every cell.", code="bad_plan")
    return tuple(cells)


def _spots(plan: Plan) -> list[_Spot]:
    """Cross targets, precisions and devices; each of them exists, and is there once."""
    targets = []
    for index, written in enumerate(plan.targets):
        with keyed(f"targets[{index}]"):
            targets.append(_split(written))
    for index, name in enumerate(plan.precisions):
        if name not in PRECISIONS:
            raise BadInputError(
                f"precisions[{index}]: there is no precision named {name!r}.",
                hint=f"Precisions: {', '.join(PRECISIONS)}.",
                code="unknown_precision",
            )
    for index, device in enumerate(plan.devices):
        if device != NO_DEVICE:
            with keyed(f"devices[{index}]"):
                open_device(device)
    for one, other in combinations(plan.devices, 2):
        if same_device(one, other):
            raise BadInputError(
                f"devices: {one!r} and {other!r} may be the same device.", hint="Use one spelling.", code="bad_plan"
            )
    if plan.rigor not in RIGORS:
        raise BadInputError(
            f"rigor: there is no rigor {plan.rigor!r}.", hint=f"Choose from {', '.join(RIGORS)}.", code="bad_plan"
        )
    return [
        _Spot(target, backend, precision, None if device == NO_DEVICE else device)
        for (target, backend), precision, device in product(targets, plan.precisions, plan.devices)
    ]


def _split(written: str) -> tuple[str, str | None]:
    """Return target and backend of ``executorch-portable``; the default backend where none is written."""
    name, _, backend = written.partition("-")
    offered = [each.name for each in find_target(name).backends]
    if backend and backend not in offered:
        known = ", ".join(f"{name}-{each}" for each in offered) or name
        raise UsageError(f"{name} has no backend named {backend!r}.", hint=f"Write {known}.", code="unknown_target")
    return name, backend or (offered[0] if offered else None)


def _refusal(spot: _Spot, plan: Plan) -> dict[str, str]:
    """Return why a cell could not be with the rule that leaves it out, or nothing."""
    pair = f'{{ target = "{spot.variant}", precision = "{spot.precision}" }}'
    try:
        ExportSpec(target=spot.target, backend=spot.backend, precision=spot.precision)
    except UsageError as error:
        return {error.message: pair}
    if PRECISIONS[spot.precision].calibrated and plan.calibration is None:
        return {f"{spot.precision} needs photos, and there is no key calibration.": pair}
    if spot.device is not None and spot.target not in targets_of(spot.device):
        rule = f'{{ target = "{spot.target}", device = "{spot.device}" }}'
        return {f"{spot.target} artifacts do not run on {spot.device}.": rule}
    if spot.device == "count" and plan.threads != 1:
        return {f"count counts with 1 thread, not {plan.threads}.": '{ device = "count" }'}
    return {}


def _first(sentences: Sequence[str], separator: str) -> str:
    more = f"{separator}and {len(sentences) - _SHOWN} more" if len(sentences) > _SHOWN else ""
    return separator.join(sentences[:_SHOWN]) + more


def _matches(rule: ExcludeRule, model: str, spot: _Spot) -> bool:
    values = {
        "model": (model,),
        "target": (spot.target, spot.variant),
        "precision": (spot.precision,),
        "device": (spot.device or NO_DEVICE,),
    }
    patterns = {key: each for key, each in rule.model_dump().items() if each}
    return bool(patterns) and all(
        any(fnmatchcase(value, pattern) for value in values[key] for pattern in each) for key, each in patterns.items()
    )


def _cell(template: Cell, spot: _Spot, plan: Plan, calibration: str | None) -> Cell:
    """Fill in what this cell depends on, and no more: what it does not use must not make it run again."""
    cell = replace(template, target=spot.target, backend=spot.backend, precision=spot.precision, device=spot.device)
    if PRECISIONS[spot.precision].takes_photos and calibration is not None:
        cell = replace(cell, calibration=calibration, calibration_size=plan.calibration_size)
    if spot.device is not None:
        cell = replace(cell, rigor=plan.rigor)
    if spot.device is not None or cell.eval_data is not None:
        cell = replace(cell, threads=plan.threads)
    return cell

"""A spec for each target that was asked for: what all of them take goes to all, what only some take to those."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from mobilevit_tools.errors import UsageError
from mobilevit_tools.exporters._base import ExportSpec
from mobilevit_tools.targets.registry import TARGETS, find_target


def make_specs(
    targets: Sequence[str], *, backend: str | None = None, options: Mapping[str, Any] | None = None, **common: Any
) -> list[ExportSpec]:
    """Return a spec for each target.

    Args:
        targets: Names of targets.
        backend: A backend; targets without one of that name take their default.
        options: Options of some targets' own, by name; one that is None or False was not asked for.
        common: Fields of :class:`ExportSpec` that every target takes.

    Raises:
        UsageError: None of the targets takes an option that was asked for, or one of them cannot do what was.
    """
    asked = {name: value for name, value in (options or {}).items() if value is not None and value is not False}
    chosen = [find_target(name) for name in targets]
    if backend is not None and not any(target.backend(backend) for target in chosen):
        raise UsageError(f"None of {', '.join(targets)} has a backend named {backend!r}.")
    taken = {target.name: {each.name for each in fields(target.options)} for target in TARGETS.values()}
    for name in asked:
        takers = [target for target, known in taken.items() if name in known]
        if not takers:
            raise UsageError(f"No target has an option named {name!r}.")
        if not set(takers) & set(targets):
            raise UsageError(
                f"--{name.replace('_', '-')} is not for {' or '.join(targets)}.",
                hint=f"Leave it out; it is for {' and '.join(takers)}.",
            )
    return [
        ExportSpec(
            target.name,
            backend=backend if target.backend(backend) else None,
            options=target.options.read({name: value for name, value in asked.items() if name in taken[target.name]}),
            **common,
        )
        for target in chosen
    ]

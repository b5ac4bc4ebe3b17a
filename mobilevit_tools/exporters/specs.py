"""A spec for each target that was asked for: what all of them take goes to all, what only some take to those."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mobilevit_tools.errors import UsageError
from mobilevit_tools.exporters._base import ExportSpec
from mobilevit_tools.exporters.registry import TARGETS, find_target


def make_specs(targets: Sequence[str], **fields: Any) -> list[ExportSpec]:
    """Return a spec for each target.

    Args:
        targets: Names of targets.
        fields: Fields of :class:`ExportSpec`, as they were asked for; one that is None or False was not.

    Raises:
        UsageError: None of the targets takes an option that was asked for, or one of them cannot do what was.
    """
    asked = {name: value for name, value in fields.items() if value is not None and value is not False}
    chosen = [find_target(name) for name in targets]
    if "backend" in asked and not any(asked["backend"] in target.backends for target in chosen):
        raise UsageError(f"None of {', '.join(targets)} has a backend named {asked['backend']!r}.")
    takers = {name: [each.name for each in TARGETS.values() if name in each.options] for name in asked}
    for name, taking in takers.items():
        if taking and not set(taking) & set(targets):
            raise UsageError(
                f"--{name.replace('_', '-')} is not for {' or '.join(targets)}.",
                hint=f"Leave it out; it is for {' and '.join(taking)}.",
            )
    return [
        ExportSpec(
            target.name,
            **{name: value for name, value in asked.items() if not takers[name] or target.name in takers[name]},
        )
        for target in chosen
    ]

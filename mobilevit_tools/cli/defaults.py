"""Defaults that a team shares: ``[tool.mvt]`` of the nearest pyproject.toml, and ``MVT_*`` variables, which go first.

A key of the table itself holds for every command that has the option, one of ``[tool.mvt.COMMAND]`` for that command. A
gate can only be made stricter here: what loosens it, or hides what was made, is typed by who wants it.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from mobilevit_tools.api.doctor import Default
from mobilevit_tools.cli.arguments import parse_share
from mobilevit_tools.errors import BadInputError, UsageError

PREFIX = "MVT_"
MAX_BYTES = 1 << 20
TYPED_ONLY = frozenset({"help", "json", "keep-failed", "overwrite", "quiet", "random-weights", "verbose"})
LEAST = {"least-quantized": 90.0}
MOST = {
    "max-instruction-growth": 0.02,
    "max-new-calls": 0.0,
    "max-new-outside": 0.0,
    "max-regress": 0.02,
    "max-size-growth": 0.02,
    "max-snr-loss": 6.0,
}
"""The gates that an option can loosen, with their own limits."""

_applied: dict[str, dict[str, Any]] = {}


def apply_defaults(commands: Mapping[str, Any], folder: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the defaults of each command, as the parser takes them, by its parameters' names.

    Args:
        commands: The commands by name, as the parser has them.
        folder: Where to look for pyproject.toml, and above.
        environment: Variables.

    Raises:
        UsageError: A key is no option, or loosens a gate.
        BadInputError: The table cannot be read.
    """
    _applied.clear()
    for default in read_defaults(commands, folder, environment):
        for command in [default.command] if default.command else _with_option(commands, default.option):
            parameter = _options(commands[command])[default.option]
            _applied.setdefault(command, {})[parameter.name] = _value(default, parameter)
    return dict(_applied)


def applied(command: str) -> Mapping[str, Any]:
    """Return the shared defaults that hold for a command, by its parameters' names."""
    return _applied.get(command, {})


def read_defaults(
    commands: Mapping[str, Any], folder: Path, environment: Mapping[str, str] = os.environ
) -> tuple[Default, ...]:
    """Return every default that is stated, in the order in which they are applied: the last one holds.

    Raises:
        UsageError: A key is no option, or loosens a gate.
        BadInputError: The table cannot be read.
    """
    found = [*_in_table(commands, folder), *_in_environment(commands, environment)]
    for default in found:
        _check(default)
    return tuple(sorted(found, key=lambda each: each.command is not None))


def _in_table(commands: Mapping[str, Any], folder: Path) -> Iterator[Default]:
    for parent in (folder, *folder.parents):
        path = parent / "pyproject.toml"
        if path.is_file() and (table := _table(path)) is not None:
            break
    else:
        return
    for key, value in table.items():
        if isinstance(value, dict) and key in commands:
            yield from (_known(commands, key, name, inner, str(path)) for name, inner in value.items())
        else:
            yield _known(commands, None, key, value, str(path))


def _table(path: Path) -> dict[str, Any] | None:
    try:
        if path.stat().st_size > MAX_BYTES:
            return None
        table = tomllib.loads(path.read_text(encoding="utf-8")).get("tool", {}).get("mvt")
    except (OSError, ValueError, RecursionError, AttributeError) as error:
        raise BadInputError(f"{path} cannot be read: {error}.", code="bad_defaults") from error
    if table is not None and not isinstance(table, dict):
        raise BadInputError(f"tool.mvt in {path} is not a table.", code="bad_defaults")
    return table


def _in_environment(commands: Mapping[str, Any], environment: Mapping[str, str]) -> Iterator[Default]:
    for command in (None, *commands):
        for name in _names(commands, command):
            spelt = name if command is None else f"{command}-{name}"
            variable = PREFIX + spelt.replace("-", "_").upper()
            if variable in environment:
                yield Default(command, name, environment[variable], variable)


def _names(commands: Mapping[str, Any], command: str | None) -> list[str]:
    chosen = commands.values() if command is None else [commands[command]]
    return sorted({name for each in chosen for name in _options(each)})


def _known(commands: Mapping[str, Any], command: str | None, name: str, value: object, source: str) -> Default:
    names = _names(commands, command)
    if name not in names:
        where = f"tool.mvt.{command}" if command else "tool.mvt"
        near = get_close_matches(name, [*names, *commands], n=1)
        raise UsageError(
            f"Unknown key {name!r} in [{where}] of {source}.",
            hint=f"Did you mean {near[0]}?" if near else "Keys are options without the leading dashes.",
        )
    return Default(command, name, tuple(value) if isinstance(value, list) else value, source)


def _check(default: Default) -> None:
    name = default.option
    if name in TYPED_ONLY:
        raise UsageError(
            f"--{name} cannot have a shared default ({default.source}).", hint="Pass it where you need it."
        )
    limit = LEAST.get(name, MOST.get(name))
    if limit is None:
        return
    try:
        share = name not in {*LEAST, "max-snr-loss", "max-new-calls", "max-new-outside"}
        given = parse_share(str(default.value)) if share else float(str(default.value))
    except ValueError as error:
        raise UsageError(f"{default.value!r} is not a number for {name} ({default.source}).") from error
    if not (given >= limit if name in LEAST else given <= limit):
        raise UsageError(
            f"A shared default cannot loosen a gate: {name} is {default.value} in {default.source}.",
            hint=f"Use {limit:g} or a stricter value, or pass --{name} on the command line.",
        )


def _value(default: Default, parameter: Any) -> object:
    several = default.value if isinstance(default.value, tuple) else None
    if parameter.multiple:
        return list(several) if several is not None else str(default.value).replace(",", " ").split()
    if several is not None or isinstance(default.value, dict):
        raise UsageError(f"{default.option} takes one value ({default.source}).")
    return default.value


def _with_option(commands: Mapping[str, Any], name: str) -> list[str]:
    return [command for command, each in commands.items() if name in _options(each)]


def _options(command: Any) -> dict[str, Any]:
    """Return a command's parameters by their long options, without the dashes."""
    return {
        spelt.removeprefix("--"): parameter
        for parameter in command.params
        for spelt in parameter.opts
        if spelt.startswith("--")
    }

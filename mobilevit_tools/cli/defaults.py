"""Defaults that a team shares: ``[tool.mvt]`` of the nearest pyproject.toml, and ``MVT_*`` variables, which go first.

A key of the table itself holds for every command that has the option, one of ``[tool.mvt.COMMAND]`` for that command. A
gate can only be made stricter here: what loosens it, or hides what was made, is typed by who wants it. A bound holds
where what it bounds is asked for, and is no obstacle elsewhere. Commands that mvt itself runs (:mod:`..child`) have no
shared defaults: they are told everything.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from mobilevit_tools.child import EXPLICIT
from mobilevit_tools.defaults import Default
from mobilevit_tools.errors import BadInputError, UsageError, first_line

PREFIX = "MVT_"
MAX_BYTES = 1 << 20
NEAR = 0.75
"""How alike a variable and an option are before it is taken for one misspelt; those of others are left alone."""
TYPED_ONLY = frozenset(
    {"allow-contention", "help", "json", "keep-failed", "overwrite", "quiet", "random-weights", "verbose"}
)
GATES = frozenset({("verify", "precision")})
"""Options that choose the gate: a default for what is exported must not judge whatever is verified."""
GATE = "gate"
"""The option that makes gates stricter; it cannot loosen one."""
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
BOUNDED = {
    "profile": ("against", ("max-regress",)),
    "smoke": ("baseline", tuple(name for name in MOST if name != "max-regress")),
}
"""Of a command, the option that is needed for others to mean anything."""
QUANTIZED = ("least-quantized", "max-drop")
CALIBRATED = ("calibration", "calibration-size", "calibration-method")
"""Options that mean nothing without such a precision."""

_applied: dict[str, dict[str, Any]] = {}


def apply_defaults(
    commands: Mapping[str, Any], folder: Path, environment: Mapping[str, str], typed: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the defaults of each command, as the parser takes them, by its parameters' names.

    Args:
        commands: The commands by name, as the parser has them.
        folder: Where to look for pyproject.toml, and above.
        environment: Variables.
        typed: The arguments, which decide what some defaults mean.

    Raises:
        UsageError: A key is no option, or loosens a gate.
        BadInputError: The table cannot be read.
    """
    _applied.clear()
    if environment.get(EXPLICIT):
        return {}
    for default in read_defaults(commands, folder, environment):
        for command in [default.command] if default.command else _taking(commands, default):
            parameter = _options(commands[command])[default.option]
            _applied.setdefault(command, {})[parameter.name] = _value(default, parameter)
    for command, values in _applied.items():
        for name in _idle(command, _options(commands[command]), values, typed):
            values.pop(name, None)
    return dict(_applied)


def current_folder() -> Path:
    """Return where to look for pyproject.toml; the root where the current folder is gone."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        return Path("/")


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
    table = sorted(_in_table(commands, folder), key=lambda each: each.command is not None)
    found = [*table, *_in_environment(commands, environment)]
    for default in found:
        _check(default)
    return tuple(found)


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
    import tomllib

    try:
        if path.stat().st_size > MAX_BYTES:
            return None
        table = tomllib.loads(path.read_text(encoding="utf-8")).get("tool", {}).get("mvt")
    except (OSError, ValueError, RecursionError, AttributeError) as error:
        raise BadInputError(
            f"{path} cannot be read: {first_line(error).rstrip('.')}.",
            hint="Correct it: mvt looks for shared defaults there.",
            code="bad_defaults",
        ) from error
    if table is not None and not isinstance(table, dict):
        raise BadInputError(f"tool.mvt in {path} is not a table.", code="bad_defaults")
    return table


def _in_environment(commands: Mapping[str, Any], environment: Mapping[str, str]) -> Iterator[Default]:
    if not any(variable.startswith(PREFIX) for variable in environment):
        return  # every option of every command would be looked at
    known: dict[str, tuple[str | None, str]] = {}
    for command in (None, *commands):
        for name in _names(commands, command):
            spelt = name if command is None else f"{command}-{name}"
            known.setdefault(spelt.replace("-", "_").upper(), (command, name))
    for spelt, (command, name) in known.items():
        if PREFIX + spelt in environment:
            yield Default(command, name, environment[PREFIX + spelt], PREFIX + spelt)
    for variable in sorted(environment):
        spelt = variable.removeprefix(PREFIX)
        near = get_close_matches(spelt, known, n=1, cutoff=NEAR) if variable.startswith(PREFIX) else []
        if near and spelt not in known:
            raise UsageError(f"Unknown variable {variable}.", hint=f"Did you mean {PREFIX}{near[0]}? Or unset it.")


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
    if name in TYPED_ONLY or (default.command, name) in GATES:
        raise UsageError(
            f"--{name} cannot have a shared default ({default.source}).", hint="Pass it where you need it."
        )
    if name == GATE:
        from mobilevit_tools.verification.tolerances import gates_of

        gates_of("", _several(default.value))
        return
    limit = LEAST.get(name, MOST.get(name))
    if limit is None:
        return
    from mobilevit_tools.cli.arguments import parse_share

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
    if isinstance(default.value, dict) or any(isinstance(each, list | dict) for each in several or ()):
        raise UsageError(f"{default.option} takes no table or nested list ({default.source}).")
    if parameter.multiple:
        return _several(default.value)
    if several is not None and len(several) != 1:
        raise UsageError(f"{default.option} takes one value ({default.source}).")
    return default.value if several is None else several[0]


def _several(value: object) -> list[Any]:
    return list(value) if isinstance(value, tuple) else str(value).replace(",", " ").split()


def _with_option(commands: Mapping[str, Any], name: str) -> list[str]:
    return [command for command, each in commands.items() if name in _options(each) and (command, name) not in GATES]


def _taking(commands: Mapping[str, Any], default: Default) -> list[str]:
    """Return the commands that a key of the table itself is for: several values are for those that take several."""
    named = _with_option(commands, default.option)
    many = [each for each in named if _options(commands[each])[default.option].multiple]
    values = _several(default.value) if isinstance(default.value, str | tuple) else [default.value]
    return many if many and len(values) != 1 else named


def _idle(command: str, options: Mapping[str, Any], values: Mapping[str, Any], typed: Sequence[str]) -> Iterator[str]:
    """Yield the parameters whose defaults mean nothing beside what is typed."""
    needed, bounds = BOUNDED.get(command, ("", ()))
    if needed and not _typed(needed, typed) and needed not in values:
        yield from (options[name].name for name in bounds)
    if "precision" not in options:
        return
    from mobilevit_tools.targets.precisions import FLOATING, PRECISIONS

    shared = values.get("precision", FLOATING[0])
    precisions = set(_typed("precision", typed) or (shared if isinstance(shared, list) else [str(shared)]))
    if precisions <= set(FLOATING):
        yield from (options[name].name for name in QUANTIZED if name in options)
    if not any(PRECISIONS[each].takes_photos for each in precisions & set(PRECISIONS)):
        yield from (options[name].name for name in CALIBRATED if name in options)


def _typed(name: str, typed: Sequence[str]) -> list[str]:
    """Return the values of a long option among arguments."""
    option, found = f"--{name}", []
    for place, each in enumerate(typed):
        if each == option:
            found.append(typed[place + 1] if place + 1 < len(typed) else "")
        elif each.startswith(f"{option}="):
            found.append(each.removeprefix(f"{option}="))
    return found


def _options(command: Any) -> dict[str, Any]:
    """Return a command's parameters by their long options, without the dashes."""
    return {
        spelt.removeprefix("--"): parameter
        for parameter in command.params
        for spelt in parameter.opts
        if spelt.startswith("--")
    }

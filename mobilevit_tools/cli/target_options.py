"""The options that only some targets take, as the command line has them: one for each field of their descriptions."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Annotated, Any, TypeVar

import typer

from mobilevit_tools.cli.defaults import applied
from mobilevit_tools.targets.registry import ALL, TARGETS

_Command = TypeVar("_Command", bound=Callable[..., None])
_TYPES: dict[str, type] = {"bool": bool, "int": int, "str": str, "float": float}


def takes_target_options(after: str) -> Callable[[_Command], _Command]:
    """Give a command that takes ``**target_options`` an option for each field, behind the parameter ``after``."""

    def give(command: _Command) -> _Command:
        signature = inspect.signature(command, eval_str=True)
        parameters: list[inspect.Parameter] = []
        for parameter in signature.parameters.values():
            if parameter.kind is not inspect.Parameter.VAR_KEYWORD:
                parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
            if parameter.name == after:
                parameters += _target_parameters()
        command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]  # what typer asks
        return command

    return give


def for_targets(options: dict[str, Any], targets: Sequence[str]) -> dict[str, Any]:
    """Leave out shared defaults of options that none of the targets has; what was typed stays, and is refused later."""
    chosen = [target for name, target in TARGETS.items() if name in targets or ALL in targets]
    taken = {field.name for target in chosen for field in fields(target.options)}
    shared = applied("export")

    def is_shared(name: str, value: object) -> bool:
        return name in shared and str(value).lower() == str(shared[name]).lower()  # those of variables are text

    return {name: value for name, value in options.items() if name in taken or not is_shared(name, value)}


def _target_parameters() -> list[inspect.Parameter]:
    summaries: dict[str, list[str]] = {}
    types: dict[str, type] = {}
    for target in TARGETS.values():
        for field in fields(target.options):
            summaries.setdefault(field.name, []).append(f"{target.title}: {field.metadata['help']}")
            types[field.name] = _TYPES[str(field.type).partition(" | ")[0]]
    return [_parameter(name, types[name], " ".join(said)) for name, said in summaries.items()]


def _parameter(name: str, kind: type, summary: str) -> inspect.Parameter:
    taken: Any = kind if kind is bool else kind | None
    option = typer.Option(f"--{name.replace('_', '-')}", help=summary)
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=False if kind is bool else None,
        annotation=Annotated[taken, option],
    )

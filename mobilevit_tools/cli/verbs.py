"""The verbs: their names, a line on each for ``mvt --help``, and where they are, so that only what runs is imported."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command, get_group

VERBS: Mapping[str, tuple[str, str]] = {
    "models": ("models:models", "List the models and their sizes."),
    "info": ("info:info", "Show a model's parameters and MACs by stage."),
    "export": ("export:export", "Export a model and verify every artifact."),
    "finetune": ("finetune:finetune", "Fine-tune a quantized model without labels."),
    "verify": ("verify:verify", "Compare an artifact with its PyTorch model."),
    "predict": ("predict:predict", "Run an artifact on photos."),
    "profile": ("profile:profile", "Measure latency, memory and instructions of an artifact."),
    "smoke": ("smoke:smoke", "Export and verify a matrix of models, targets and precisions."),
    "sweep": ("sweep:sweep", "Run a matrix of models, targets, precisions and devices."),
    "report": ("report:report", "Write one HTML page from exports and measurements."),
    "diff": ("diff:diff", "Compare two artifacts."),
    "devices": ("devices:devices", "List the devices and what each measures."),
    "inspect": ("inspect:inspect", "Show what an artifact is made of."),
    "doctor": ("doctor:doctor", "Check the installation."),
    "eval": ("eval:evaluate", "Measure accuracy on labelled photos."),
    "bench": ("bench:bench", "Benchmark rewrites, precisions, exports and many models."),
}
GROUPS = frozenset({"bench"})
"""Those that are groups of verbs themselves."""


class Commands(Mapping[str, Any]):
    """Commands by name, each imported and built when it is asked for.

    Args:
        names: Their names.
    """

    def __init__(self, names: Collection[str]) -> None:
        self._names = tuple(name for name in VERBS if name in names)

    def __getitem__(self, name: str) -> Any:
        if name not in self._names:
            raise KeyError(name)
        return _command(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class Verb(TyperCommand):
    """A verb that refuses an option which takes one value and was given several: the parser would keep the last."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse, once nothing would be left out."""
        if not ctx.resilient_parsing:
            order: list[Any] = self.make_parser(ctx).parse_args(args=list(args))[2]
            single = (each for each in order if each.param_type_name == "option" and not each.is_flag)
            given = Counter(each.opts[0] for each in single if not (each.multiple or each.count))
            for name, times in given.items():
                if times > 1:
                    # The parser's own class of errors about usage is private to typer.
                    usage_error: Any = typer.BadParameter.__mro__[1]
                    raise usage_error(f"{name} takes one value, and {times} were given.", ctx=ctx)
        return super().parse_args(ctx, args)


class Verbs(TyperGroup):
    """The group of all verbs."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = Commands(VERBS)  # type: ignore[assignment]  # nobody adds to them

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        """List the verbs without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in VERBS.items()])


@cache
def _command(name: str) -> Any:
    module, _, attribute = VERBS[name][0].partition(":")
    found = getattr(import_module(f"mobilevit_tools.cli.{module}"), attribute)
    if name in GROUPS:
        return get_group(found)
    holder = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    holder.command(name, cls=Verb)(found)
    return get_command(holder)

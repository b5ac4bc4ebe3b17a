"""What a call is given as its model: a name, or a module that is in memory."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mobilevit_tools.artifacts.artifact import Artifact
from mobilevit_tools.errors import UsageError
from mobilevit_tools.models.own_card import Card

if TYPE_CHECKING:
    from torch import nn

    from mobilevit_tools.models.factory import LoadedModel
    from mobilevit_tools.models.learnt import Learnt


@dataclass(frozen=True)
class GivenModule:
    """A module, and what was said of it.

    Attributes:
        module: The module; it stays as it is.
        name: What artifacts call it.
        card: What is known of it, as :func:`mobilevit_tools.models.own_card.read_card` takes it.
    """

    module: nn.Module
    name: str
    card: Mapping[str, object]

    @property
    def has_ranges(self) -> bool:
        """Whether it was quantized in training."""
        from mobilevit_tools.models.own_ranges import has_ranges

        return has_ranges(self.module)

    def load(
        self,
        input_size: tuple[int, int] | None = None,
        labels: Sequence[str] | None = None,
        learnt: Learnt | None = None,
    ) -> LoadedModel:
        """Make it ready for export, with what it has learnt; see :func:`mobilevit_tools.models.in_memory.load_module`.

        Raises:
            BadInputError: The module cannot be exported, or something was learnt from other weights than it has.
        """
        from mobilevit_tools.models.in_memory import load_module

        loaded = load_module(self.module, name=self.name, card=self.card, input_size=input_size, labels=labels)
        if learnt is not None:
            learnt.check(loaded.module, self.name)
        return replace(loaded, learnt=learnt)


def given_module(
    model: object,
    *,
    name: str | None = None,
    card: Card | Mapping[str, object] | None = None,
    overrides: Mapping[str, object] | None = None,
    of_names: Mapping[str, object] | None = None,
) -> GivenModule | None:
    """Return the module that a call was given; None where it was given a name.

    Args:
        model: What it was given.
        name: What artifacts are to call a module.
        card: What is known of a module.
        overrides: Fields of the card that were given as arguments of their own; None is not given.
        of_names: Arguments that only a model with a name takes; None and False are not given.

    Raises:
        UsageError: It is neither, or was given with what is for the other.
    """
    said = {key: value for key, value in (overrides or {}).items() if value is not None}
    if isinstance(model, str):
        about = [*(["name"] if name is not None else []), *(["card"] if card is not None else []), *said]
        if about:
            raise UsageError(
                f"{', '.join(about)}: only valid for a module in memory; {model} defines its own.",
                hint="Omit it, or pass the torch.nn.Module instead of the name.",
                code="not_a_module",
            )
        return None
    from torch import nn

    from mobilevit_tools.models.own_ranges import module_of

    model = module_of(model)
    if not isinstance(model, nn.Module):
        raise UsageError(f"A model is a name or a torch.nn.Module, not a {type(model).__name__}.", code="not_a_module")
    refused = [key for key, value in (of_names or {}).items() if value is not None and value is not False]
    if refused:
        raise UsageError(
            f"{', '.join(refused)}: only valid for a named model; a module already has its weights.",
            hint="Omit it.",
            code="not_a_module",
        )
    from mobilevit_tools.models.in_memory import module_name

    stated = card if card is not None else {}
    if isinstance(stated, Card):
        said_of = {field.name: (getattr(stated, field.name), field.default) for field in fields(Card)}
        stated = {key: value for key, (value, default) in said_of.items() if value != default}
    if not isinstance(stated, Mapping):
        raise UsageError(f"A card is a Card or a dict, not a {type(stated).__name__}.", code="not_a_module")
    return GivenModule(model, module_name(model, name), {**stated, **said})


def given_artifact(artifact: object, verb: str) -> Artifact:
    """Return the artifact that a call was given the path of.

    Raises:
        UsageError: It was given a model, or what is no path.
    """
    if isinstance(artifact, str | Path):
        return Artifact(Path(artifact))
    if _is_module(artifact):
        raise UsageError(
            f"{verb} takes the path of an artifact, not a module in memory.",
            hint="Export the module and pass result.artifacts[0].path.",
            code="not_an_artifact",
        )
    raise UsageError(f"{verb} takes the path of an artifact, not a {type(artifact).__name__}.", code="not_an_artifact")


def model_names(models: object, verb: str) -> list[str]:
    """Return the names of the models that a call was given, a single one as a list of one.

    Raises:
        UsageError: One of them is no name.
    """
    given = [models] if isinstance(models, str) or not isinstance(models, Iterable) or _is_module(models) else models
    names = []
    for each in given:
        if not isinstance(each, str):
            what = "a module in memory" if _is_module(each) else f"a {type(each).__name__}"
            raise UsageError(
                f"{verb} runs each export in a separate process, so it needs a model name, not {what}.",
                hint="Put a function that returns the module in a file and pass path/to/net.py:build.",
                code="not_a_name",
            )
        names.append(each)
    return names


def plan_path(plan: object) -> Path:
    """Return the path of the plan that a sweep was given.

    Raises:
        UsageError: It was given something else.
    """
    if isinstance(plan, str | Path):
        return Path(plan)
    model_names(plan, "sweep")
    raise UsageError(f"sweep takes the path of a plan, not a {type(plan).__name__}.", code="no_plan")


def _is_module(value: object) -> bool:
    torch = sys.modules.get("torch")  # without it there is no module
    return torch is not None and isinstance(value, torch.nn.Module)

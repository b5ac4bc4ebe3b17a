"""The tasks, as data; their modules are only imported where one is needed."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, cast

from mobilevit_tools.data.contract import OutputKind, TaskName
from mobilevit_tools.errors import UsageError
from mobilevit_tools.tasks._base import Task, TaskCard

if TYPE_CHECKING:
    from mobilevit_tools.models.factory import LoadedModel
    from mobilevit_tools.models.returned import Returned

_CARDS = (
    TaskCard(
        "classify",
        "one score per class",
        "mobilevit_tools.tasks.classify",
        ("logits", "probabilities"),
    ),
    TaskCard(
        "segment",
        "a score per class and position, or the class itself",
        "mobilevit_tools.tasks.segment",
        ("score_map", "class_map"),
        judges=(
            ("class_map", "mobilevit_tools.verification.class_maps"),
            ("score_map", "mobilevit_tools.verification.score_maps"),
        ),
    ),
    TaskCard(
        "detect",
        "boxes with a score per class",
        "mobilevit_tools.tasks.detect",
        ("boxes", "detections", "objects"),
        judges=(
            ("boxes", "mobilevit_tools.verification.boxes"),
            ("detections", "mobilevit_tools.verification.detections"),
            ("objects", "mobilevit_tools.verification.objects"),
        ),
    ),
    TaskCard(
        "embed",
        "one vector per photo, close to those of similar photos",
        "mobilevit_tools.tasks.embed",
        ("embedding",),
    ),
    TaskCard("raw", "tensors without further interpretation", "mobilevit_tools.tasks.raw", ("features",)),
)
TASKS: Mapping[TaskName, TaskCard] = MappingProxyType({card.name: card for card in _CARDS})
PLAIN_JUDGE = "mobilevit_tools.verification.judging"
_BY_RETURNED: Mapping[Returned, TaskName] = MappingProxyType(
    {"logits": "classify", "embedding": "embed", "features": "raw"}
)


def find_task(name: str) -> TaskCard:
    """Return a task by its name.

    Raises:
        UsageError: There is no such task; the nearest names are given.
    """
    for card in TASKS.values():
        if card.name == name:
            return card
    near = get_close_matches(name, TASKS, n=1)
    raise UsageError(
        f"There is no task named {name!r}.",
        hint=(f"Did you mean {near[0]}? " if near else "") + f"Tasks: {', '.join(TASKS)}.",
        code="no_such_task",
    )


def load_task(name: str) -> Task:
    """Import a task's module."""
    return cast("Task", import_module(find_task(name).module))


def judge_of(holds: OutputKind) -> str:
    """Return the dotted name of the module that judges such outputs."""
    judges = {kind: module for card in TASKS.values() for kind, module in card.judges}
    return judges.get(holds, PLAIN_JUDGE)


def settle(loaded: LoadedModel, task: str | None = None, *, upsample: bool = False) -> LoadedModel:
    """Return a model as artifacts of its task compute it.

    Args:
        loaded: The model.
        task: What its outputs mean; by default what its card says, or else what they hold.
        upsample: Resize its maps to the input's size.

    Raises:
        UsageError: There is no such task, or it has no maps to resize.
        BadInputError: The model's outputs are not such as the task is about.
    """
    name = find_task(task or loaded.card.task or _BY_RETURNED[loaded.returns]).name
    return load_task(name).fit(loaded, upsample=upsample)

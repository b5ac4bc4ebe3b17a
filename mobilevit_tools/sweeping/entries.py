"""What can be judged of a plan's models and paths without building or reading anything."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import Literal

from mobilevit_tools.errors import BadInputError, MvtError, UsageError
from mobilevit_tools.input_size import parse_size
from mobilevit_tools.matrix.cell import Cell
from mobilevit_tools.models.names import is_registered, resolve
from mobilevit_tools.models.options import option_texts
from mobilevit_tools.models.own import ENTRY_POINT_GROUP
from mobilevit_tools.models.references import path_in, split_source, with_path
from mobilevit_tools.normalization import channels_text, parse_channels
from mobilevit_tools.sweeping.plan import Channels, ModelEntry
from mobilevit_tools.targets.registry import TARGETS

_HUB = "hf://"


def template_of(entry: ModelEntry, key: str, base: Path) -> Cell:
    """Return a cell with all that a model's table says; its target is to be replaced.

    Args:
        entry: The table.
        key: How the file spells it, such as ``models[0]``.
        base: The folder to which its paths are relative.

    Raises:
        BadInputError: There is no such model, option, input size or file, or not exactly one source of weights.
    """
    with keyed(f"{key}.options"):
        options = option_texts(entry.options)
    with keyed(f"{key}.name"):
        model, bundled = _resolved(entry.name, base)
    given = (entry.checkpoint is not None) + entry.random_weights
    if given > 1 or (bundled == "none" and not given) or (bundled == "tagged" and given):
        raise BadInputError(
            f"{key}: {entry.name} needs exactly one source of weights.",
            hint="Give a tag in its name, a checkpoint, or random_weights = true.",
            code="no_weights",
        )
    with keyed(f"{key}.checkpoint"):
        checkpoint = None if entry.checkpoint is None else existing(entry.checkpoint, base)
    input_size = None if entry.input_size is None else str(entry.input_size)
    with keyed(f"{key}.input_size"):
        parse_size(input_size)
    with keyed(f"{key}.labels"):
        labels = None if entry.labels is None else existing(entry.labels, base)
    with keyed(f"{key}.mean"):
        mean = _channels(entry.mean, "mean")
    with keyed(f"{key}.std"):
        std = _channels(entry.std, "standard deviation")
    with keyed(key):
        return Cell(
            model=model,
            target=next(iter(TARGETS)),
            checkpoint=checkpoint,
            random_weights=entry.random_weights,
            num_classes=entry.num_classes,
            labels=labels,
            input_size=input_size,
            mean=mean,
            std=std,
            options=options,
        )


def _channels(given: Channels | None, what: str) -> str | None:
    """Return a mean or a deviation as ``mvt export`` takes it.

    Raises:
        UsageError: It is none.
    """
    values = [given] if isinstance(given, int | float) else given
    text = values if values is None or isinstance(values, str) else channels_text(values)
    parse_channels(text, what)
    return text


@contextmanager
def keyed(key: str) -> Iterator[None]:
    """Say of every error in the body which key of the plan it is about.

    Raises:
        BadInputError: In place of any error of ours.
    """
    try:
        yield
    except MvtError as error:
        code = "bad_plan" if error.error_code == UsageError.code else error.error_code
        raise BadInputError(f"{key}: {error.message}", hint=error.hint, code=code) from error


def existing(path: str, base: Path) -> str:
    """Return a path made absolute; an address of the hub as it is.

    Raises:
        BadInputError: There is nothing there.
    """
    if path.startswith(_HUB):
        return path
    full = base.absolute() / path
    if not full.exists():
        raise BadInputError(
            f"there is nothing at {full}.", hint="Paths are relative to the plan's file.", code="no_such_file"
        )
    return str(full)


def _resolved(name: str, base: Path) -> tuple[str, Literal["none", "tagged", "offered"]]:
    """Return the model's name, with an absolute path where it has one, and what weights come with it.

    A tag says them; a source has some to offer, unless others are given.
    """
    path = path_in(name)
    if path is not None:
        name = with_path(name, existing(path, base))
    if split_source(name) is not None:
        return name, "offered"
    if path is not None or (not is_registered(name) and entry_points(group=ENTRY_POINT_GROUP, name=name)):
        return name, "none"
    return name, "none" if resolve(name)[1] is None else "tagged"

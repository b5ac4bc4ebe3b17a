"""Which weights two artifacts share, as far as their formats let one tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mobilevit_tools.comparison.reading import read_apart, read_stored
from mobilevit_tools.comparison.stored import Stored, Weight
from mobilevit_tools.targets.registry import find_target


@dataclass(frozen=True)
class WeightChange:
    """A weight that both have under one name, with another content, shape or type."""

    a: Weight
    b: Weight


@dataclass(frozen=True)
class WeightsDiff:
    """How the stored weights of two artifacts differ.

    Attributes:
        matched_by: ``name``, or ``content`` where a format keeps no names or the two have different ones.
        same: Weights with the same content on both sides, renamed ones among them.
        same_bytes: Their size.
        renamed: How many of these have another name.
        changed: Weights of one name that differ.
        only_a: Weights that the first alone has.
        only_b: Weights that the second alone has.
        bytes_a: All weights of the first.
        bytes_b: All weights of the second.
        notes: What the formats do not let one tell.
    """

    matched_by: Literal["name", "content"]
    same: int
    same_bytes: int
    renamed: int
    changed: tuple[WeightChange, ...]
    only_a: tuple[Weight, ...]
    only_b: tuple[Weight, ...]
    bytes_a: int
    bytes_b: int
    notes: tuple[str, ...]


def diff_weights(target_a: str, a: Path, target_b: str, b: Path) -> WeightsDiff:
    """Compare what two artifacts store.

    Raises:
        BadInputError: An artifact is damaged.
    """
    (weights_a, notes_a), (weights_b, notes_b) = _read(target_a, a), _read(target_b, b)
    notes = list(dict.fromkeys((*notes_a, *notes_b)))
    if target_a != target_b:
        notes.append("The targets differ and name and lay out weights differently.")
    return match(weights_a, weights_b, notes=tuple(notes), by_name=target_a == target_b)


def _read(target: str, artifact: Path) -> Stored:
    if find_target(target).native_runtime:  # where a damaged file may end the process
        return read_apart(target, artifact)
    return read_stored(target, artifact)


def match(
    a: Sequence[Weight], b: Sequence[Weight], *, notes: tuple[str, ...] = (), by_name: bool = True
) -> WeightsDiff:
    """Match two lists of weights: first by name, what is left by content."""
    named_b = {weight.name: weight for weight in b if weight.name} if by_name else {}
    pairs = [(weight, named_b[weight.name]) for weight in a if by_name and weight.name and weight.name in named_b]
    paired = {weight.name for weight, _ in pairs}
    left_a = [weight for weight in a if weight.name not in paired]
    left_b = [weight for weight in b if weight.name not in paired]
    shared = Counter(weight.sha256 for weight in left_a) & Counter(weight.sha256 for weight in left_b)
    alike = _take(left_a, shared)
    same = [one for one, other in pairs if _equal(one, other)]
    return WeightsDiff(
        matched_by="name" if pairs and all(weight.name for weight in (*a, *b)) else "content",
        same=len(same) + len(alike),
        same_bytes=_size(same) + _size(alike),
        renamed=sum(bool(weight.name) for weight in alike) if by_name else 0,
        changed=tuple(WeightChange(one, other) for one, other in pairs if not _equal(one, other)),
        only_a=tuple(_rest(left_a, shared)),
        only_b=tuple(_rest(left_b, shared)),
        bytes_a=_size(a),
        bytes_b=_size(b),
        notes=notes,
    )


def _equal(a: Weight, b: Weight) -> bool:
    return (a.dtype, a.shape, a.sha256) == (b.dtype, b.shape, b.sha256)


def _take(weights: Iterable[Weight], wanted: Counter[str]) -> list[Weight]:
    left = Counter(wanted)
    taken = []
    for weight in weights:
        if left[weight.sha256] > 0:
            left[weight.sha256] -= 1
            taken.append(weight)
    return taken


def _rest(weights: Sequence[Weight], shared: Counter[str]) -> list[Weight]:
    taken = {id(weight) for weight in _take(weights, shared)}
    return [weight for weight in weights if id(weight) not in taken]


def _size(weights: Iterable[Weight]) -> int:
    return sum(weight.size_bytes for weight in weights)

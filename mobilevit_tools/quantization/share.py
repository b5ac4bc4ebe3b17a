"""How much of an artifact is quantized, and whether that is what was asked for."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from mobilevit_tools.targets.precisions import PRECISIONS

if TYPE_CHECKING:
    from mobilevit_tools.verification.parity import Parity

LEAST_QUANTIZED = 90.0
"""Percent of the weights, and of the MACs that multiply by one, that a quantized artifact has in 8 bits or fewer.

Ordinary nets have 95 and more; one layer type that a quantizer passed over takes a net far below."""
LISTED = 8
NAMED = 3
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Layer:
    """An operator that multiplies by a stored weight: a convolution, a linear layer, a product.

    Attributes:
        operator: Its name in the artifact.
        kind: Its type there.
        weight: The name of its weight, which several operators may share.
        values: How many numbers that is.
        macs: Its multiply-accumulates for one image; 0 where its sizes are not known.
        quantized: Whether the weight is stored in 8 bits or fewer.
        integer: Whether its input is quantized, too.
    """

    operator: str
    kind: str
    weight: str
    values: int
    macs: int
    quantized: bool
    integer: bool


@dataclass(frozen=True)
class FloatLayer:
    """A layer that is in floating point, in part or as a whole.

    Attributes:
        name: The name of its weight.
        kind: The operator's type in the artifact.
        weights: Its share of all weights.
        macs: Its share of all MACs that multiply by a weight.
        asked: Whether it was to stay so: it was kept for accuracy or range, or the precision is not for its type.
    """

    name: str
    kind: str
    weights: float
    macs: float
    asked: bool


@dataclass(frozen=True)
class QuantizedShare:
    """How much of an artifact is quantized. Products of two activations have no weight, and are in no figure.

    Attributes:
        weights: Of the numbers in weights that operators multiply by, the share in 8 bits or fewer. Biases, norms and
            tables that are looked up are not among them.
        macs: Of the multiply-accumulates with such weights, the share that is quantized: with an input in 8 bits, too,
            where the precision is one of activations.
        asked_weights: The share of the weights that is to stay in floating point.
        asked_macs: Likewise of the multiply-accumulates.
        layers: How many operators multiply by a weight.
        quantized: How many of them are quantized.
        floating: The largest of the others, those first that nobody asked for.
        weights_alone: Whether only weights were to be quantized; nothing is then computed in integers, and the MACs
            are no ground to fail.
    """

    weights: float
    macs: float
    asked_weights: float
    asked_macs: float
    layers: int
    quantized: int
    floating: tuple[FloatLayer, ...]
    weights_alone: bool


def share_of(layers: Sequence[Layer], precision: str, asked: Collection[str] = ()) -> QuantizedShare | None:
    """Return how much of ``layers`` is quantized; None where nothing multiplies by a weight.

    Args:
        layers: What an artifact has.
        precision: Its precision, a member of ``PRECISIONS``.
        asked: Names of operators that are to stay in floating point.
    """
    sizes = {layer.weight: layer.values for layer in layers}
    values, macs = sum(sizes.values()), sum(layer.macs for layer in layers)
    if not values:
        return None
    left = [
        layer for layer in layers if not (layer.quantized and (layer.integer or PRECISIONS[precision].weights_alone))
    ]
    floating: dict[str, FloatLayer] = {}
    for layer in left:
        other = floating.get(layer.weight)
        floating[layer.weight] = FloatLayer(
            layer.weight,
            layer.kind,
            weights=0.0 if layer.quantized else layer.values / values,
            macs=(other.macs if other else 0.0) + (layer.macs / macs if macs else 0.0),
            asked=layer.operator in asked and (other is None or other.asked),
        )
    ordered = sorted(floating.values(), key=lambda each: (each.asked, -max(each.weights, each.macs)))
    return QuantizedShare(
        weights=max(0.0, 1.0 - sum(each.weights for each in ordered)),
        macs=max(0.0, 1.0 - sum(each.macs for each in ordered)),
        asked_weights=sum((each.weights for each in ordered if each.asked), 0.0),
        asked_macs=sum((each.macs for each in ordered if each.asked), 0.0),
        layers=len(layers),
        quantized=len(layers) - len(left),
        floating=tuple(ordered[:LISTED]),
        weights_alone=PRECISIONS[precision].weights_alone,
    )


def share_of_strangers(layers: Sequence[Layer]) -> QuantizedShare | None:
    """Return how much of an artifact of others is quantized; None where nothing is.

    Where no input of a quantized layer is quantized, only weights were to be.
    """
    done = [layer for layer in layers if layer.quantized]
    return share_of(layers, "int8" if any(layer.integer for layer in done) else "int8-weight") if done else None


def too_little(share: QuantizedShare, least: float | None) -> str | None:
    """Say why an artifact is quantized too little; None where it is not.

    What was asked to stay in floating point counts for nothing, unless that leaves nothing at all quantized.

    Args:
        share: How much of it is.
        least: Percent of the weights and of the multiply-accumulates; None takes ``LEAST_QUANTIZED``.
    """
    bar = LEAST_QUANTIZED if least is None else least
    said = _said(share.floating, "weights", share.weights, share.asked_weights, bar)
    if said is None and not share.weights_alone:
        said = _said(share.floating, "macs", share.macs, share.asked_macs, bar)
    return said


def _said(
    floating: Sequence[FloatLayer], figure: Literal["weights", "macs"], has: float, asked: float, bar: float
) -> str | None:
    eligible = 1.0 - asked
    part = 100 * has / eligible if eligible > _ROUNDING else 0.0
    if part >= bar - _ROUNDING:
        return None
    named = [each for each in floating if not each.asked] or list(floating)
    named.sort(key=lambda each: getattr(each, figure), reverse=True)
    listed = ", ".join(f"{each.name} ({each.kind}, {getattr(each, figure):.1%})" for each in named[:NAMED])
    more = f" and {len(named) - NAMED} more" if len(named) > NAMED else ""
    what = "weights" if figure == "weights" else "multiply-accumulates"
    return f"{part:.1f} % of its {what} are quantized, below {bar:g} %: {listed}{more} stay in floating point"


def with_share(parity: Parity, share: QuantizedShare | None, least: float | None) -> Parity:
    """Fail the verdict on an artifact of which too little is quantized."""
    reason = None if share is None else too_little(share, least)
    if reason is None:
        return parity
    known = [each for each in (parity.reason if parity.status == "failed" else None, reason) if each]
    return replace(parity, status="failed", reason="; ".join(known))

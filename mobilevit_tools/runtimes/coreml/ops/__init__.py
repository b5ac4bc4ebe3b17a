"""Operators of ML Programs, one module for each theme; importing this package fills the table."""

from . import (
    activations,
    classify,
    conv,
    create,
    elementwise,
    gather_scatter,
    image,
    linear,
    norm,
    pool,
    quantize,
    reduce,
    shape,
    slicing,
)
from .registry import OPERATORS, Kind, Operator, State, Value, plain

__all__ = [
    "OPERATORS",
    "Kind",
    "Operator",
    "State",
    "Value",
    "activations",
    "classify",
    "conv",
    "create",
    "elementwise",
    "gather_scatter",
    "image",
    "linear",
    "norm",
    "plain",
    "pool",
    "quantize",
    "reduce",
    "shape",
    "slicing",
]

"""Every deployment rewrite, as data only: importing this module imports no framework.

A rewrite is one file with a function ``rewrite(module, flow) -> (module, places)`` and one entry here. The order of
the entries is the order in which they are applied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType

from mobilevit_tools.errors import UsageError
from mobilevit_tools.targets.registry import DEPLOYMENTS, find_target


@dataclass(frozen=True)
class Rewrite:
    """One rewrite.

    Attributes:
        name: The name that ``--rewrites`` takes; its module has the same name.
        summary: What it does, in a few words.
        everywhere: Whether every target gets it unless it declines; else those that ask for it.
        precisions: The precisions of arithmetic whose default set holds it.
        rounds_well: Whether what it leaves can be rounded as well as what it found. Scales that are folded in make the
            weights of one output channel as unlike as the channels of the input, and leave an input of channels that
            are as unlike and share one range.
        family: The model family that it knows; None where it works on any module.
    """

    name: str
    summary: str
    everywhere: bool = True
    precisions: tuple[str, ...] = ("fp32", "fp16")
    rounds_well: bool = True
    family: str | None = None

    @property
    def module(self) -> str:
        """Dotted path of the file that implements it."""
        return f"mobilevit_tools.rewrites.{self.name}"


REWRITES: Mapping[str, Rewrite] = MappingProxyType(
    {
        rewrite.name: rewrite
        for rewrite in (
            Rewrite("merged_heads", "two averaged classifier heads as one Linear", family="care"),
            Rewrite("batch_norm_backward", "BatchNorm folded into the convolution before it"),
            Rewrite("batch_norm_forward", "BatchNorm folded into the unpadded convolution after it", rounds_well=False),
            Rewrite("layer_scale", "layer scale folded into the last projection of its block", family="care"),
            Rewrite("half_attention", "linear attention within half range", precisions=("fp16",), family="care"),
            Rewrite(
                "linear_attention", "linear attention without transposed heads", precisions=("fp32",), family="care"
            ),
            Rewrite(
                "cluster_arithmetic",
                "comparisons of distances as arithmetic",
                everywhere=False,
                precisions=("fp32",),
                family="clustr",
            ),
            Rewrite("depthwise_lattices", "depthwise kernels in parts with a kernel of their own", everywhere=False),
            Rewrite("elu_plus_one", "elu(t) + 1 as relu(t) + exp(t - relu(t))", everywhere=False),
            Rewrite("layer_norm_affine", "LayerNorm's affine folded into the Linear after it", everywhere=False),
            Rewrite("split_slices", "splits, chunks and selects as slices of their source", everywhere=False),
            Rewrite("plain_views", "no-op expands removed, squeezes as reshapes", everywhere=False),
            Rewrite("last_axis_softmax", "softmax over another axis as one over the last", everywhere=False),
            Rewrite("layer_norm_products", "LayerNorm with its means as products", everywhere=False),
            Rewrite("token_means", "means as pooling or products", everywhere=False),
            Rewrite("flat_matmul", "stacked matrix products with a single batch dimension", everywhere=False),
        )
    }
)


def default_rewrites(deployment: str, precision: str, *, rounded: bool = False) -> tuple[str, ...]:
    """Return the names of the rewrites that an export applies unless told otherwise, in order of application.

    Args:
        deployment: A target, with its backend where it has several.
        precision: What is left in floating point computes in it: ``fp32`` or ``fp16``.
        rounded: Whether weights are going to be rounded, with activations or alone.
    """
    return tuple(
        rewrite.name
        for rewrite in REWRITES.values()
        if _wanted(rewrite, deployment) and precision in rewrite.precisions and (rewrite.rounds_well or not rounded)
    )


def deployments_of(rewrite: Rewrite) -> tuple[str, ...]:
    """Return the deployments whose default set holds a rewrite."""
    return tuple(deployment for deployment in DEPLOYMENTS if _wanted(rewrite, deployment))


def _wanted(rewrite: Rewrite, deployment: str) -> bool:
    name, _, backend = deployment.partition("-")
    target = find_target(name)
    asking = target.backend(backend) or target
    return rewrite.name not in asking.declines if rewrite.everywhere else rewrite.name in asking.rewrites


def select_rewrites(names: Sequence[str]) -> tuple[str, ...]:
    """Return ``names`` in order of application, each once.

    Raises:
        UsageError: No such rewrite; the hint names the nearest ones.
    """
    for name in names:
        if name not in REWRITES:
            nearest = get_close_matches(name, REWRITES, n=2, cutoff=0.4) or REWRITES
            raise UsageError(
                f"There is no rewrite named {name!r}.", hint=f"Rewrites: {', '.join(nearest)}.", code="unknown_rewrite"
            )
    return tuple(name for name in REWRITES if name in names)

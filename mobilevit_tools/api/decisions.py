"""Where an artifact fails its gate: did its runtime decide otherwise inside the model?

Some models decide something discrete on the way, such as ClusTR, whose tokens join clusters. Such a model has a method
``decisions()`` that returns a module with the decisions as outputs, and that module a method ``count_changed(ours,
theirs)``. The gate itself is judged on the logits alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from mobilevit_tools.exporters._base import ExportSpec
from mobilevit_tools.runtimes.registry import open_made
from mobilevit_tools.targets.registry import find_target
from mobilevit_tools.verification.reference import torch_reference

if TYPE_CHECKING:
    from torch import nn

    from mobilevit_tools.data.contract import Contract
    from mobilevit_tools.exporters._base import Exporter
    from mobilevit_tools.verification.inputs import VerificationInput


def count_changed(
    module: nn.Module,
    exporter: Exporter,
    spec: ExportSpec,
    contract: Contract,
    inputs: Sequence[VerificationInput],
) -> int | None:
    """Count over all inputs what a target's runtime decides otherwise than PyTorch; None where nothing is decided.

    The decisions are exported beside the model, by the same exporter, with the same rewrites and the same kind of
    input: what normalises its pixels by itself may round them otherwise.
    """
    import torch

    from mobilevit_tools.rewrites._base import apply

    decide = getattr(module, "decisions", None)
    if decide is None:
        return None
    decisions = decide().eval()
    reference = torch_reference(decisions)
    example = torch.from_numpy(inputs[0].tensor)
    rewritten = apply(decisions, example, deployment=spec.deployment, names=spec.rewrites).module
    features = replace(contract, output="features", outputs=())
    changed = 0
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"decisions{find_target(spec.target).suffix}"
        plain = replace(spec, precision="fp32", fp16_keep=None, batch=1)
        exporter.lower(rewritten, plain, features, path)
        with open_made(path) as session:
            for item in inputs:
                array = session.feed(item.tensor, item.pixels)
                if array is None:
                    continue
                ours = [torch.from_numpy(output) for output in reference(item.tensor)]
                theirs = [torch.from_numpy(output) for output in session.run(array.copy())]
                changed += decisions.count_changed(ours, theirs)
    return changed

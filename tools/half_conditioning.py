"""How much of a model's output rounding to half precision can cost, before any runtime computes in it.

Everything is computed in float64; only the weights, or only the input, are rounded to half once. Where that alone
misses the gate of half precision, the model decides something discrete that the rounding changes, and no artifact in
half precision can be expected to pass::

    python -m tools.half_conditioning clustr_t --option head=semantic_fpn --input-size 64x96
"""

from __future__ import annotations

import argparse
import copy
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from mobilevit_tools.data.bundled import verification_photos
from mobilevit_tools.input_size import parse_size
from mobilevit_tools.models.factory import load_model
from mobilevit_tools.models.options import parse_options
from mobilevit_tools.models.settled import write_settled
from mobilevit_tools.verification.inputs import build_inputs
from mobilevit_tools.verification.metrics import distance


def main() -> None:
    """Print the SNR of both roundings for every verification input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--option", action="append", default=[], help="a model option, name=value")
    parser.add_argument("--input-size", default=None)
    given = parser.parse_args()
    size, options = parse_size(given.input_size), parse_options(given.option)
    with TemporaryDirectory() as folder:
        weights = Path(folder, "settled.safetensors")
        write_settled(given.model, weights, input_size=size, options=options)
        loaded = load_model(given.model, checkpoint=str(weights), input_size=size, options=options)
    exact = copy.deepcopy(loaded.module).eval().double()
    rounded = copy.deepcopy(exact)
    for tensor in (*rounded.parameters(), *rounded.buffers()):
        if tensor.is_floating_point():
            tensor.data = tensor.data.half().double()
    sys.stdout.write(f"{'input':<24}{'weights rounded, dB':>20}{'input rounded, dB':>20}\n")
    for each in build_inputs(loaded.preprocessing, verification_photos()):
        x = torch.from_numpy(each.tensor).double()
        wanted = _values(exact, x)
        of_weights, of_input = (_shown(wanted, got) for got in (_values(rounded, x), _values(exact, x.half().double())))
        sys.stdout.write(f"{each.name:<24}{of_weights:>20}{of_input:>20}\n")


@torch.no_grad()
def _values(module: nn.Module, x: Tensor) -> Tensor:
    outputs: list[Any] = tree_leaves(module(x))
    return torch.cat([each.flatten() for each in outputs])


def _shown(wanted: Tensor, got: Tensor) -> str:
    found = distance(wanted.numpy(), got.numpy()).snr_db
    return "-" if found is None else f"{found:.1f}"


if __name__ == "__main__":
    main()

"""Core ML: coremltools' own quantizers, on the operators that hold trained weights.

Static int8 needs the ranges of activations. coremltools measures them with ``predict``, which exists on macOS only, and
keeps those of the last sample alone; here the reference runtime measures them on every sample, on any system, and
coremltools' graph passes do the rest.
"""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import coremltools as ct
import coremltools.optimize.coreml as cto
from coremltools.converters.mil.frontend.milproto import load as milproto
from coremltools.converters.mil.mil.passes.graph_pass import AbstractGraphPass, PassOption
from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY
from coremltools.models.utils import _apply_graph_pass

from mobilevit_tools.quantization._base import Quantization
from mobilevit_tools.quantization.coreml_grids import (
    INT4_BLOCK,
    PALETTE_BITS,
    SMALLEST_WEIGHT,
    KeepingScales,
    own_palette,
    round_by_photos,
)
from mobilevit_tools.runtimes.coreml import Program, load_program
from mobilevit_tools.targets.precisions import PRECISIONS

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from mobilevit_tools.quantization.calibration import Calibration

WEIGHTED_OPERATORS = ("conv", "linear")
OUTLIERS = 1000
"""One value in so many is left out of a range by the method ``percentile``, at either end."""
ACTIVATION_PASSES = (
    "compression::insert_prefix_quantize_dequantize_pair",
    "compression::insert_suffix_quantize_dequantize_pair",
)

Ranges = dict[str, dict[str, float]]


def quantize(
    package: ct.models.MLModel, quantization: Quantization, kept: Collection[str], *, takes_image: bool, batch: int
) -> ct.models.MLModel:
    """Return ``package`` quantized.

    Args:
        package: A floating-point ML Program.
        quantization: What to do.
        kept: Names of the package's operations that hold the weights to keep.
        takes_image: Whether the package's input is an image and not a normalised tensor.
        batch: Images per inference.
    """
    ranges = None
    if quantization.calibration is not None and PRECISIONS[quantization.precision].calibrated:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "float.mlpackage")
            package.save(str(path))
            ranges = measure_ranges(
                load_program(path), quantization.calibration, quantization.method, takes_image=takes_image, batch=batch
            )
    if quantization.precision in PALETTE_BITS:
        palette = cto.OpPalettizerConfig(
            mode="custom",
            lut_function=own_palette(PALETTE_BITS[quantization.precision]),
            weight_threshold=SMALLEST_WEIGHT,
        )
        return cto.palettize_weights(package, _config(palette, kept))
    if quantization.precision == "int4-weight":
        linear = cto.OpLinearQuantizerConfig(
            mode="linear_symmetric",
            dtype="int4",
            granularity="per_block",
            block_size=INT4_BLOCK,
            weight_threshold=SMALLEST_WEIGHT,
        )
    else:
        linear = cto.OpLinearQuantizerConfig(mode="linear_symmetric", weight_threshold=0)
    weights = KeepingScales()
    weights.set_options([PassOption("config", _config(linear, kept)), PassOption("joint_compression", False)])
    # In one go: between two calls coremltools would merge equal constants, and then refuse what it merged.
    return _apply_graph_pass(
        package,
        [*([] if ranges is None else _activation_passes(ranges, kept)), weights],
        spec_version=ct.target.iOS16 if ranges is None else ct.target.iOS17,
        pymil_load_func=milproto.load,
        skip_model_load=True,
    )


def rounded(module: nn.Module, quantization: Quantization, batch: int) -> nn.Module:
    """Return a copy whose weights of few bits are chosen by photos; ``module`` itself where there are no such photos.

    What has learnt is rounded already.

    Args:
        module: In evaluation mode, in float32.
        quantization: What to do.
        batch: Images per inference.
    """
    if quantization.calibration is None or quantization.learnt is not None:
        return module
    if not PRECISIONS[quantization.precision].rounded_by_photos:
        return module
    copied = copy.deepcopy(module)
    round_by_photos(copied, quantization.calibration, quantization.precision, quantization.keep, batch)
    return copied


def measure_ranges(program: Program, calibration: Calibration, method: str, *, takes_image: bool, batch: int) -> Ranges:
    """Return the range of every real-valued result and input that holds the values of every photo.

    Args:
        program: What the package holds.
        calibration: The photos.
        method: ``min-max`` takes the smallest and the largest value of all; ``percentile`` leaves out one in a thousand
            values of each batch at either end, so that outliers do not make 256 levels coarse for all others.
        takes_image: Whether the package's input is an image and not a normalised tensor.
        batch: Images per inference.
    """
    ranges: Ranges = {}

    def widen(name: str, value: NDArray[Any]) -> None:
        low, high = _range(value, value.size // OUTLIERS if method == "percentile" else 0)
        known = ranges.setdefault(name, {"rmin": low, "rmax": high})
        known["rmin"], known["rmax"] = min(known["rmin"], low), max(known["rmax"], high)

    def observe(operation: str, kind: str, name: str, value: Tensor) -> None:
        del operation, kind
        widen(name, value.numpy())

    (entry,) = program.inputs
    arrays = calibration.pixel_batches(batch) if takes_image else calibration.batches(batch)
    for array in calibration.watched(arrays, batch):
        widen(entry.name, array)
        program.run({entry.name: array}, "fp32", observe=observe)
    return ranges


def _range(value: NDArray[Any], left_out: int) -> tuple[float, float]:
    """The smallest and the largest value, without as many at either end."""
    if not left_out:
        return float(value.min()), float(value.max())
    values = value.flatten("K")  # one partition after the other: NumPy is far slower at two at once
    last = len(values) - 1 - left_out
    values.partition(last)
    below = values[:last]
    below.partition(left_out)
    return float(below[left_out]), float(values[last])


def _activation_passes(ranges: Ranges, kept: Collection[str]) -> list[AbstractGraphPass]:
    config = _config(cto.OpLinearQuantizerConfig(mode="linear_symmetric"), kept)
    passes = [PASS_REGISTRY[name] for name in ACTIVATION_PASSES]
    for graph_pass in passes:
        graph_pass.set_options([PassOption("config", config), PassOption("activation_stats", ranges)])
    return [*passes, PASS_REGISTRY["common::dequantize_quantize_pair_elimination"]]


def _config(
    operator: cto.OpLinearQuantizerConfig | cto.OpPalettizerConfig, kept: Collection[str]
) -> cto.OptimizationConfig:
    return cto.OptimizationConfig(
        op_type_configs=dict.fromkeys(WEIGHTED_OPERATORS, operator), op_name_configs=dict.fromkeys(kept)
    )

"""ONNX: the ranges of activations, measured with ONNX Runtime's calibrators on histograms that take any values.

Its own histograms end in an error where an activation is constant, grow without bound where the first photos give tiny
values and later ones do not, and drop values below the smallest of the first photos.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod
from onnxruntime.quantization.calibrate import (
    HistogramCalibrater,
    HistogramCollector,
    TensorsData,
    create_calibrator,
    save_tensors_data,
)

from mobilevit_tools.errors import BadInputError
from mobilevit_tools.progress import Progress, counted, silent
from mobilevit_tools.quantization.calibration import MEASURING

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

WEIGHTED_OPERATORS = ("Conv", "Gemm", "MatMul")
CHUNK = 8
"""Batches of calibration photos whose activations are in memory at once."""
MOST_GROWTH = 16
"""A histogram whose values outgrow it by more than this is started anew over the wider range, with its counts."""
SMALLEST_TOP = 1e-30
"""A histogram's least end: the bins of smaller ones have edges that float32 cannot tell apart."""


def measure_ranges(
    model: Path,
    augmented: Path,
    cache: Path,
    method: CalibrationMethod,
    reader: CalibrationDataReader,
    *,
    progress: Progress = silent,
) -> None:
    """Write the range of every activation that an operator with weights reads or writes to ``cache``.

    Args:
        model: The float32 model.
        augmented: Where the calibrator may write the model with all activations as outputs.
        cache: The file that ``quantize_static`` takes in place of photos.
        method: How measured values become ranges.
        reader: The photos, in chunks of ``CHUNK``.
        progress: Told of every chunk.

    Raises:
        BadInputError: An activation is not finite.
    """
    calibrator = create_calibrator(model, WEIGHTED_OPERATORS, augmented.as_posix(), method)
    if isinstance(calibrator, HistogramCalibrater):
        calibrator.collector = _Histograms(
            method=calibrator.method,
            symmetric=calibrator.symmetric,
            num_bins=calibrator.num_bins,
            num_quantized_bins=calibrator.num_quantized_bins,
            percentile=calibrator.percentile,
            scenario=calibrator.scenario,
        )
    starts = range(0, len(reader), CHUNK)
    for start in counted(progress, MEASURING, starts, len(starts)):
        reader.set_range(start, start + CHUNK)
        calibrator.collect_data(reader)
    ranges: TensorsData = calibrator.compute_data()
    for name, values in ranges.items():
        _check_finite(name, np.asarray(values.range_value))
    save_tensors_data(ranges, cache)


class Reader(CalibrationDataReader):  # type: ignore[misc]
    """Gives the photos in chunks: a histogram calibrator keeps every activation of a chunk in memory."""

    def __init__(self, name: str, batches: Sequence[NDArray[np.float32]]) -> None:
        self._name = name
        self._batches = batches
        self._left = iter(batches)

    def __len__(self) -> int:
        return len(self._batches)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Go to the batches from ``start_index`` to before ``end_index``."""
        self._left = iter(self._batches[start_index:end_index])

    def get_next(self) -> Mapping[str, NDArray[np.float32]] | None:
        """Return the next batch by the input's name; None after the last."""
        batch = next(self._left, None)
        return None if batch is None else {self._name: batch}


class _Histograms(HistogramCollector):  # type: ignore[misc]
    """The library's histograms, over ranges that hold every value and have a width."""

    def collect_absolute_value(self, name_to_arr: Mapping[str, Any]) -> None:
        """Add magnitudes."""
        for name, given in name_to_arr.items():
            values = np.asarray(given, np.float32).ravel()
            _check_finite(name, values)
            top = max(float(np.abs(values).max()), SMALLEST_TOP)
            known = self.histogram_dict.get(name)
            if known is not None and top <= MOST_GROWTH * known[1][-1]:
                super().collect_absolute_value({name: values})
                continue
            counts, edges = np.histogram(np.abs(values).astype(np.float64), self.num_bins, range=(0, top))
            low, high = values.min(), values.max()
            if known is not None:
                counts = counts + _moved(known[0], known[1], edges)
                low, high = min(low, known[2]), max(high, known[3])
            self.histogram_dict[name] = counts, edges.astype(np.float32), low, high

    def collect_value(self, name_to_arr: Mapping[str, Any]) -> None:
        """Add signed values."""
        for name, given in name_to_arr.items():
            values = np.asarray(given, np.float32).ravel()
            _check_finite(name, values)
            top = max(float(np.abs(values).max()), SMALLEST_TOP)
            known = self.histogram_dict.get(name)
            if known is not None and top <= MOST_GROWTH * known[4]:
                super().collect_value({name: values})
                continue
            counts, edges = np.histogram(values.astype(np.float64), self.num_bins, range=(-top, top))
            low, high = values.min(), values.max()
            if known is not None:
                counts = counts + _moved(known[0], known[1], edges)
                low, high = min(low, known[2]), max(high, known[3])
            self.histogram_dict[name] = counts, edges.astype(np.float32), low, high, np.float32(top)


def _moved(counts: NDArray[Any], edges: NDArray[Any], wider: NDArray[Any]) -> NDArray[Any]:
    """Return a histogram's counts in the bins of a wider one, each bin's at its centre."""
    centres = (edges[:-1].astype(np.float64) + edges[1:]) / 2
    moved, _ = np.histogram(centres, wider, weights=counts)
    return moved.astype(counts.dtype)


def _check_finite(name: str, values: NDArray[Any]) -> None:
    if not np.isfinite(values).all():
        raise BadInputError(
            f"The activation {name} is not finite on the calibration photos, so it has no quantization range.",
            hint="Check the model's outputs on these photos in float32, or export it in fp32.",
            code="infinite_activation",
        )

"""What lies on a grid stays there when coremltools stores it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from coremltools.optimize.coreml._quantization_passes import linear_quantize_weights

from mobilevit_tools.exporters._base import ExportSpec
from mobilevit_tools.exporters.coreml import lower
from mobilevit_tools.quantization._base import plan_quantization
from mobilevit_tools.quantization.coreml_grids import (
    KeepingScales,
    finer_weights,
    grid_of,
    own_palette,
    own_scales,
)
from mobilevit_tools.runtimes.registry import open_session
from mobilevit_tools.targets.coreml import CoremlOptions
from tests.quantization.tiny import CONTRACT, calibration, fresh_inputs, snr_db, tiny


def _on_grid(top: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Return a weight (4, 64) of multiples of a scale per block of 32, none of which reaches 7, and the scales."""
    generator = np.random.default_rng(0)
    scales = generator.uniform(0.01, 0.2, (4, 2)).astype(np.float16)
    multiples = generator.integers(-top, top + 1, (4, 2, 32))
    return (multiples * scales[..., None].astype(np.float32)).reshape(4, 64).astype(np.float16), scales


def test_scales_are_found_again() -> None:
    weight, scales = _on_grid()
    found = own_scales(weight, [1, 32], top=7)
    assert found is not None
    np.testing.assert_allclose(found, scales, rtol=2e-3)
    assert own_scales(weight + np.float16(0.003), [1, 32], top=7) is None


def test_coremltools_keeps_multiples_only_when_it_is_made_to() -> None:
    weight, _ = _on_grid()

    def error(quantizer: type[linear_quantize_weights]) -> float:
        params = quantizer.blockwise_compress(weight, 4, "LINEAR_SYMMETRIC", signed=True, block_sizes=[1, 32])
        return float(np.abs(quantizer.decompress(params).astype(np.float32) - weight).max())

    assert error(KeepingScales) < 1e-3
    assert error(linear_quantize_weights) > 1e-2


def test_few_values_are_their_own_palette() -> None:
    few = np.random.default_rng(0).choice(np.linspace(-1, 1, 13).astype(np.float16), (40, 20))
    palette, indices = own_palette(4)(few)
    assert palette.shape == (16,)
    np.testing.assert_array_equal(palette[indices].reshape(few.shape), few)
    more = np.random.default_rng(0).choice(np.linspace(-1, 1, 200).astype(np.float16), (40, 20))
    palette, indices = own_palette(4)(more)  # one that was to be finer
    assert palette.shape == (256,)
    np.testing.assert_array_equal(palette[indices].reshape(more.shape), more)
    many = np.random.default_rng(0).standard_normal((40, 20)).astype(np.float16)
    assert own_palette(4)(many)[0].size == 16


@pytest.mark.parametrize("precision", ["int4-weight", "palette4"])
def test_photos_choose_how_weights_are_rounded(tmp_path: Path, precision: str) -> None:
    net, given = tiny(), fresh_inputs()
    with torch.no_grad():
        expected = net(torch.from_numpy(given)).numpy()
    options = CoremlOptions(tensor_io=True, deployment_target="iOS18")
    spec = ExportSpec("coreml", precision=precision, options=options)

    def run(photos: bool) -> np.ndarray:
        path = tmp_path / f"{photos}.mlpackage"
        plan = plan_quantization("coreml", precision, calibration() if photos else None)
        assert plan is not None
        assert plan.record.method == ("error-feedback" if photos else None)
        lower(net, spec, CONTRACT, path, plan)
        with open_session(path) as session:
            return np.concatenate([session.run(image[None])[0] for image in given])

    assert snr_db(expected, run(photos=True)) > snr_db(expected, run(photos=False)) + 2


def test_what_hurts_most_for_its_size_gets_a_finer_palette() -> None:
    net = tiny()
    finer = finer_weights(net, calibration(), "palette4", 1)
    total = sum(each.numel() for each in net.parameters() if each.dim() > 1)
    assert sum(net.get_parameter(name).numel() for name in finer) <= 0.05 * total
    assert not finer_weights(net, calibration(), "int4-weight", 1)
    assert not finer_weights(net, calibration(), "palette8", 1)
    weight = torch.randn(64, 32)
    assert grid_of(weight, "palette4", finer=True) != grid_of(weight, "palette4")

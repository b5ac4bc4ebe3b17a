from __future__ import annotations

from zipfile import ZipFile

import pytest

pytest.importorskip("litert_torch", reason="the `litert` extra is not installed; make test-targets")

from mobilevit_tools.artifacts.files import artifact_files
from mobilevit_tools.comparison.litert import read_layers
from mobilevit_tools.data.contract import Contract
from mobilevit_tools.errors import UsageError
from mobilevit_tools.quantization._base import Quantization
from mobilevit_tools.quantization.litert import quantize
from tests.optional import ROOT, artifact, exported

pytestmark = pytest.mark.targets


def test_the_interpreter_computes_the_model() -> None:
    (made,) = exported("litert").artifacts
    assert made.parity.status == "passed"
    assert made.parity.snr_db is not None
    assert made.parity.snr_db >= 100


def test_what_xnnpack_takes_is_counted() -> None:
    delegation = exported("litert").artifacts[0].delegation
    assert delegation is not None
    assert (delegation.calls, dict(delegation.outside), delegation.macs_share) == (1, {}, 1.0)


@pytest.mark.parametrize(("precision", "least"), [("int8-weight", 25.0), ("int8", 10.0)])
def test_what_has_weights_is_quantized(precision: str, least: float) -> None:
    (made,) = exported("litert", precision).artifacts
    assert made.parity.status == "passed"
    assert made.parity.snr_db is not None
    assert least <= made.parity.snr_db < 60
    assert made.quantized is not None
    assert (made.quantized.layers, made.quantized.quantized) == (3, 3)
    assert (made.quantized.weights, made.quantized.macs) == (1.0, 1.0)


def test_nothing_is_quantized_in_float32() -> None:
    layers = read_layers(artifact("litert"))
    assert [(each.kind, each.quantized, each.integer) for each in layers] == [
        ("CONV_2D", False, False),
        ("FULLY_CONNECTED", False, False),
        ("FULLY_CONNECTED", False, False),
    ]
    assert [each.macs for each in layers] == [16 * 8 * 48, 16 * 8 * 24, 8 * 3]


def test_operators_cannot_be_kept_by_the_names_of_their_weights() -> None:
    with pytest.raises(UsageError, match="keep no names of weights"):
        quantize(artifact("litert"), Quantization("int8-weight", keep=("head.weight",)), 1)


def test_the_contract_and_the_labels_follow_the_model() -> None:
    with ZipFile(artifact("litert")) as archive:
        contract = Contract.from_json(archive.read("mobilevit_tools.contract.json").decode())
        assert archive.read("labels.txt").decode().splitlines() == ["cat", "dog", "horse"]
    assert (contract.model, contract.labels) == ("net", ("cat", "dog", "horse"))


def test_no_path_of_this_machine_is_in_it() -> None:
    for file in artifact_files(artifact("litert")):
        assert str(ROOT).encode() not in file.read_bytes()

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("coreai_torch", reason="the `coreai` extra is not installed; make test-targets")

from mobilevit_tools.artifacts.files import artifact_files
from mobilevit_tools.data.contract import METADATA_KEY, Contract
from tests.optional import artifact, exported

pytestmark = pytest.mark.targets


@pytest.mark.parametrize(("precision", "least"), [("fp32", 100.0), ("fp16", 40.0)])
def test_apples_runtime_computes_the_model(precision: str, least: float) -> None:
    (made,) = exported("coreai", precision).artifacts
    assert made.parity.status == "passed"
    assert made.parity.snr_db is not None
    assert made.parity.snr_db >= least


def test_half_precision_halves_what_is_stored() -> None:
    sizes = [(artifact("coreai", precision) / "main.mlirb").stat().st_size for precision in ("fp32", "fp16")]
    assert sizes[1] < sizes[0]


def test_the_contract_is_in_the_metadata_and_the_day_is_not() -> None:
    stored = json.loads((artifact("coreai") / "metadata.json").read_text())
    contract = Contract.from_json(stored["creatorDefinedMetadata"][METADATA_KEY])
    assert (contract.model, contract.labels) == ("net", ("cat", "dog", "horse"))
    assert "creationDate" not in stored


def test_no_path_of_this_machine_is_in_it() -> None:
    for file in artifact_files(artifact("coreai")):
        content = file.read_bytes()
        assert str(Path(__file__).parents[2]).encode() not in content
        assert b"forward" not in content

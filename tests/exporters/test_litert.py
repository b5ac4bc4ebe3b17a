from __future__ import annotations

from zipfile import ZipFile

import pytest

pytest.importorskip("litert_torch", reason="the `litert` extra is not installed; make test-targets")

from mobilevit_tools.artifact_files import artifact_files
from mobilevit_tools.data.contract import Contract
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


def test_the_contract_and_the_labels_follow_the_model() -> None:
    with ZipFile(artifact("litert")) as archive:
        contract = Contract.from_json(archive.read("mobilevit_tools.contract.json").decode())
        assert archive.read("labels.txt").decode().splitlines() == ["cat", "dog", "horse"]
    assert (contract.model, contract.labels) == ("net", ("cat", "dog", "horse"))


def test_no_path_of_this_machine_is_in_it() -> None:
    for file in artifact_files(artifact("litert")):
        assert str(ROOT).encode() not in file.read_bytes()

from __future__ import annotations

from dataclasses import replace

from mobilevit_tools.comparison.facts import Change, diff_manifests
from mobilevit_tools.exporters._base import Delegation
from mobilevit_tools.quantization._base import QuantizationRecord
from mobilevit_tools.rewrites.applied import AppliedRewrite
from tests.reporting.conftest import manifest, parity


def test_equal_manifests_do_not_differ() -> None:
    assert diff_manifests(manifest(), manifest()) == {}


def test_fields_are_told_by_section() -> None:
    a = manifest(target="executorch", labels=("cat", "dog"))
    b = replace(
        manifest(target="executorch", labels=("dog", "cat"), judged=parity(90.0)),
        tools={"torch": "2.14.0", "numpy": "2.4"},
        delegation=Delegation(3, {"aten::elu.out": 2}),
        rewrites=(AppliedRewrite("merged_heads", "heads as one", 4, 0),),
    )
    assert diff_manifests(a, b) == {
        "contract": (Change("labels", ["cat", "dog"], ["dog", "cat"]),),
        "parity": (Change("snr_db", 120.0, 90.0),),
        "rewrites": (Change("merged_heads.places", None, 4), Change("merged_heads.saved_params", None, 0)),
        "delegation": (Change("calls", 2, 3), Change("outside.aten::elu.out", None, 2)),
        "tools": (Change("torch", "2.13.0", "2.14.0"), Change("numpy", None, "2.4")),
    }


def test_precision_and_size_of_the_input() -> None:
    a = manifest()
    size = replace(a.contract.preprocessing, input_size=(224, 224))
    b = replace(manifest(precision="fp16"), contract=replace(a.contract, preprocessing=size))
    assert diff_manifests(a, b) == {
        "export": (Change("precision", "fp32", "fp16"),),
        "contract": (Change("preprocessing.input_size", [160, 160], [224, 224]),),
    }


def test_an_empty_list_says_no_more_than_nothing() -> None:
    b = replace(manifest(), quantization=QuantizationRecord("min-max", None, ()))
    assert diff_manifests(manifest(), b) == {"quantization": (Change("method", None, "min-max"),)}

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

from mobilevit_tools.rewrites.registry import REWRITES, default_rewrites, deployments_of, select_rewrites
from mobilevit_tools.targets.registry import DEPLOYMENTS, TARGETS


def test_every_entry_has_a_file_with_its_algebra():
    for rewrite in REWRITES.values():
        file = import_module(rewrite.module)
        assert hasattr(file, "rewrite") or hasattr(file, "REPLACEMENTS")
        assert len(file.__doc__ or "") > 150


def test_what_targets_ask_for_and_decline_exists():
    for target in TARGETS.values():
        for asking in (target, *target.backends):
            assert {*asking.rewrites, *asking.declines} <= set(REWRITES)
            assert all(not REWRITES[name].everywhere for name in asking.rewrites)
            assert all(REWRITES[name].everywhere for name in asking.declines)


def test_what_no_target_asks_for_is_not_there():
    assert all(deployments_of(rewrite) for rewrite in REWRITES.values())


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_defaults_are_in_order_of_application(deployment):
    names = default_rewrites(deployment, "fp32")
    assert list(names) == [name for name in REWRITES if name in names]
    assert "batch_norm_forward" in names


def test_what_makes_weights_harder_to_round_is_left_out_where_they_are_rounded():
    names = default_rewrites("onnx", "fp32", rounded=True)
    assert set(default_rewrites("onnx", "fp32")) - set(names) == {"batch_norm_forward"}


def test_selection_is_ordered_and_single():
    assert select_rewrites(["split_slices", "merged_heads", "split_slices"]) == ("merged_heads", "split_slices")


def test_catalogue_imports_no_framework():
    code = "import sys, mobilevit_tools.rewrites.registry; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

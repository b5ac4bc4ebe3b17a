from __future__ import annotations

import subprocess
import sys

import pytest

from mobilevit_tools.exporters.delegation_lint import UNKNOWN, reason
from mobilevit_tools.exporters.xnnpack_outside import REASONS


@pytest.mark.parametrize(
    "name", ["aten.expand_copy.default", "aten::expand_copy.out", "expand_copy", "aten::expand_copy"]
)
def test_every_spelling_of_an_operator(name):
    assert reason(name, "xnnpack") == REASONS["expand_copy"]


def test_names_with_underscores_and_other_namespaces():
    assert reason("aten._softmax.default", "xnnpack") == REASONS["_softmax"]
    assert reason("dim_order_ops._to_dim_order_copy.default", "xnnpack") == REASONS["_to_dim_order_copy"]


def test_unknown_operators_have_a_reason_too():
    assert reason("aten.cumsum.default", "xnnpack") == reason("", "xnnpack") == UNKNOWN


def test_a_backend_is_known_by_the_name_of_its_calls_too():
    assert reason("aten.elu.default", "XnnpackBackend") == REASONS["elu"]


@pytest.mark.parametrize("backend", ["coreml", "vulkan", "VulkanBackend", None])
def test_what_xnnpack_lacks_is_said_of_no_other_backend(backend):
    assert reason("aten.native_layer_norm.default", backend) == UNKNOWN


def test_importing_it_imports_no_framework():
    code = "import sys, mobilevit_tools.exporters.delegation_lint; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""What ExecuTorch programs need beyond the package itself."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mobilevit_tools.errors import MissingDependencyError
from mobilevit_tools.exporters._base import ExportSpec
from mobilevit_tools.exporters.executorch import lower
from tests.quantization.tiny import CONTRACT, tiny


@pytest.mark.parametrize(
    ("backend", "module"),
    [
        ("xnnpack", "mobilevit_tools.exporters.xnnpack"),
        ("coreml", "executorch.backends.apple.coreml.partition"),
        ("vulkan", "executorch.backends.vulkan.partitioner.vulkan_partitioner"),
    ],
)
def test_a_backend_that_does_not_import_is_a_missing_dependency(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependencyError, match=f"The {backend} backend of ExecuTorch cannot be loaded here"):
        lower(tiny(), ExportSpec("executorch", backend=backend), CONTRACT, tmp_path / "model.pte")
    assert list(tmp_path.iterdir()) == []

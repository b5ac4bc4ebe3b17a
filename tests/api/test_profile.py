"""What a manifest adds to a measurement."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from mobilevit_tools.api.profile import profile
from mobilevit_tools.models.names import resolve
from tests.profiling.test_baseline import COUNTED


@pytest.mark.parametrize("name", ["care_s0", "care_s0.imagenette", "care_s0.v2", "net.py:build"])
def test_what_others_published_goes_by_the_architecture_whatever_the_tag(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    manifest = SimpleNamespace(model=SimpleNamespace(name=name, params=7, macs=9))
    monkeypatch.setattr("mobilevit_tools.api.profile.find_manifest", lambda _path: manifest)
    monkeypatch.setattr("mobilevit_tools.api.profile.profile_on_host", lambda *_, **__: COUNTED)
    result = profile("model.onnx")
    assert (result.params, result.macs) == (7, 9)
    known = resolve("care_s0")[0].published.latency_ms
    assert known
    assert result.published_ms == (known if name.startswith("care_s0") else {})

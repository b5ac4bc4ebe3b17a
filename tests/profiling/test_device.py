"""A measurement on a device, with a stand-in for the device: what is asked of it, and what is made of its answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from mobilevit_tools.errors import UsageError
from mobilevit_tools.profiling import device
from mobilevit_tools.profiling.device import profile_on_device


def test_core_ml_takes_no_thread_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "model.mlpackage"
    package.mkdir()
    monkeypatch.setattr(device, "open_session", lambda *_, **__: pytest.fail("it computed"))
    with pytest.raises(UsageError, match="threads of its own"):
        profile_on_device("ssh:me@mac", [package], threads=2)

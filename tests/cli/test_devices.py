"""``mvt devices`` tells of every device whether it is ready, and if not, what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mobilevit_tools.devices import DEVICES
from tests.cli.conftest import Ran

Mvt = Callable[..., Ran]


def test_every_kind_is_listed_with_a_reason_and_a_remedy(
    mvt: Mvt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    ran = mvt("devices", "--json")
    assert ran.code == 0
    listed = {device["device"].partition(":")[0]: device for device in ran.envelope["result"]["devices"]}
    assert set(listed) == set(DEVICES)
    assert listed["host"]["ready"] is True
    assert listed["count"]["detail"] == "g++ is not installed."
    assert listed["count"]["remedy"].endswith("-m mobilevit_tools.devices.prepare count")
    for name, device in listed.items():
        assert device["meaning"] == DEVICES[name].meaning


def test_people_see_the_remedy_as_they_must_type_it(mvt: Mvt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    ran = mvt("devices")
    assert ran.code == 0
    (line,) = [line for line in ran.out.splitlines() if line.startswith("count: ")]
    assert line.endswith("-m mobilevit_tools.devices.prepare count")

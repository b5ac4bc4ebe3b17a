from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.cli.conftest import Ran
from tests.conftest import SMALL

Mvt = Callable[..., Ran]


def test_a_model_with_its_rewrites_and_without(mvt: Mvt) -> None:
    ran = mvt("bench", "rewrites", SMALL, "-t", "executorch", "--rigor", "quick", "--json")
    assert ran.code == 0
    assert ran.envelope["command"] == "bench rewrites"
    (gain,) = ran.envelope["result"]["gains"]
    assert (gain["model"], gain["deployment"], gain["threads"]) == (SMALL, "executorch-xnnpack", 1)
    assert gain["rewrite"] == "all rewrites"
    assert gain["measured"]["comparison"]["ratio"] < 1.1
    assert gain["measured"]["a"]["latency_ms"]["n"] == gain["measured"]["b"]["latency_ms"]["n"] >= 30


def test_rewrites_counted_in_instructions(mvt: Mvt) -> None:
    ran = mvt("bench", "rewrites", SMALL, "-t", "executorch", "--device", "count", "--json")
    assert ran.code == 0
    (gain,) = ran.envelope["result"]["gains"]
    assert gain["device"] == "count"
    assert 0 < gain["measured"]["b"]["instructions"] < gain["measured"]["a"]["instructions"]
    assert gain["measured"]["b"]["latency_ms"] is None


@pytest.mark.parametrize(
    "arguments",
    [
        ("-t", "coreml"),
        ("-t", "onxn"),
        ("--rigor", "sloppy"),
        ("--threads", "0"),
        ("--device", "adb"),
        ("--input-size", "x"),
        ("--nonsense",),
    ],
)
def test_usage_is_checked_before_anything_is_measured(mvt: Mvt, arguments: tuple[str, ...]) -> None:
    assert mvt("bench", "rewrites", SMALL, *arguments).code == 2

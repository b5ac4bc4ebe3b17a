"""``mvt models`` lists what people get when they name a model."""

from __future__ import annotations

from collections.abc import Callable

from tests.cli.conftest import Ran


def test_bundled_weights_are_listed_with_their_own_size(mvt: Callable[..., Ran]) -> None:
    bare, bundled = (mvt("models", name, "--json") for name in ("care_s0", "care_s0.imagenette"))
    (bare_listed,), (bundled_listed,) = (ran.envelope["result"]["models"] for ran in (bare, bundled))
    assert (bare_listed["params"], bare_listed["macs"]) == (7_340_000, 717_796_096)
    assert (bundled_listed["params"], bundled_listed["macs"]) == (5_310_500, 365_198_080)
    assert mvt("models", "care_s0.imagenette").out.splitlines()[1].split()[1:4] == ["5.31", "0.365", "160x160"]

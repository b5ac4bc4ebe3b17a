"""``mvt models`` lists what people get when they name a model."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console

from mobilevit_tools.api.models import ListedModel, ModelsResult
from mobilevit_tools.cli.models import _render
from tests.cli.conftest import Ran


def test_bundled_weights_are_listed_with_their_own_size(mvt: Callable[..., Ran]) -> None:
    bare, bundled = (mvt("models", name, "--json") for name in ("care_s0", "care_s0.imagenette"))
    (bare_listed,), (bundled_listed,) = (ran.envelope["result"]["models"] for ran in (bare, bundled))
    assert (bare_listed["params"], bare_listed["macs"]) == (7_340_000, 717_796_096)
    assert (bundled_listed["params"], bundled_listed["macs"]) == (5_310_500, 365_198_080)
    assert mvt("models", "care_s0.imagenette").out.splitlines()[1].split()[1:4] == ["5.31", "0.365", "160x160"]


def test_a_long_name_is_whole_on_a_narrow_terminal() -> None:
    name = "timm:mobilevitv2_150.cvnets_in22k_ft_in1k_384"
    listed = ModelsResult((ListedModel(name, "vit", 10_590_000, None, (384, 384), None, "hf://timm/some", False),))
    console = Console(width=60)
    with console.capture() as printed:
        _render(console, listed)
    heading, *lines = printed.get().splitlines()
    assert heading.split()[:4] == ["model", "params", "(M)", "input"]  # nothing is known of the others
    assert "".join(line.split(" ")[1] for line in lines) == name

"""Arguments in Python: one value where several are possible, sizes as people write them, errors that say what to do."""

from __future__ import annotations

import traceback
from collections.abc import Callable

import pytest

import mobilevit_tools as mvt
from mobilevit_tools.input_size import as_size
from mobilevit_tools.several import several
from tests.conftest import SMALL
from tests.tiers import thorough


@pytest.mark.parametrize(
    "call",
    [
        lambda: mvt.export(SMALL, targets="onxx"),
        lambda: mvt.export(SMALL, rewrites="onxx"),
        lambda: mvt.export(SMALL, gates="onxx", random_weights=True),
        thorough(lambda: mvt.smoke("onxx", random_weights=True)),
        lambda: mvt.smoke(SMALL, targets="onxx", random_weights=True),
        lambda: mvt.smoke(SMALL, precisions="onxx", random_weights=True),
        lambda: mvt.smoke(SMALL, backends="onxx", random_weights=True),
        lambda: mvt.smoke(SMALL, devices="onxx", random_weights=True),
        thorough(lambda: mvt.smoke(SMALL, options="onxx", random_weights=True)),
        lambda: mvt.report("onxx"),
        lambda: mvt.bench_rewrites("onxx"),
        lambda: mvt.bench_rewrites(SMALL, targets="onxx"),
        lambda: mvt.bench_rewrites(SMALL, devices="onxx"),
        lambda: mvt.bench_precisions(SMALL, calibration="p", eval_data="p", targets="onxx"),
        lambda: mvt.bench_runtimes(SMALL, targets="onxx"),
        lambda: mvt.bench_export(SMALL, targets="onxx"),
        lambda: mvt.bench_zoo("timm:resnet18", targets="onxx"),
        lambda: mvt.bench_zoo("timm:resnet18", precisions="onxx"),
    ],
)
def test_a_text_is_one_value(call: Callable[[], object]) -> None:
    with pytest.raises(mvt.MvtError, match="onxx"):
        call()


def test_several_are_several() -> None:
    assert several("ab") == ("ab",)
    assert several(["ab", "c"]) == ("ab", "c")
    assert several(3) == (3,)


@pytest.mark.parametrize("given", [(192, 256), [192, 256], "192x256"])
def test_an_input_size_is_height_and_width(given: object) -> None:
    assert as_size(given) == (192, 256)  # type: ignore[arg-type]


def test_one_number_is_both_sides() -> None:
    assert (as_size(224), as_size("224"), as_size(None)) == ((224, 224), (224, 224), None)


@pytest.mark.parametrize("given", [0, -3, 2.5, (1, 2, 3), (), "wide", True])
def test_other_sizes_are_refused(given: object) -> None:
    with pytest.raises(mvt.UsageError, match="is not an input size"):
        as_size(given)  # type: ignore[arg-type]


def test_a_traceback_says_what_to_do() -> None:
    with pytest.raises(mvt.BadInputError) as caught:
        mvt.info("care_s00")
    assert "Did you mean care_s0" in "".join(traceback.format_exception(caught.value))

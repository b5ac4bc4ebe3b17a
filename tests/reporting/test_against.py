"""Two runs side by side: every figure before and now, and a mark where it changed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mobilevit_tools.reporting.against import MOST_FIELDS, Pair, SideBySide, side_by_side
from mobilevit_tools.reporting.intake import read_runs
from tests.reporting.conftest import HOSTILE, SAMPLES, Desk, draw, evaluation, manifest, parity, profile


@pytest.fixture
def before(tmp_path: Path) -> Desk:
    (tmp_path / "before").mkdir()
    return Desk(tmp_path / "before")


@pytest.fixture
def now(tmp_path: Path) -> Desk:
    (tmp_path / "now").mkdir()
    return Desk(tmp_path / "now")


def compared(before: Desk, now: Desk) -> SideBySide:
    return side_by_side(read_runs(before.runs).artifacts, read_runs(now.runs).artifacts)


def only(found: SideBySide) -> Pair:
    (pair,) = found.pairs
    return pair


def test_the_same_run_has_no_marks(before: Desk, now: Desk) -> None:
    for desk in (before, now):
        artifact = desk.export(manifest())
        desk.envelope("profile", profile(artifact))
        desk.envelope("eval", evaluation(artifact))
    found = compared(before, now)
    assert (only(found).marks, found.worse, only(found).fields) == ({""}, 0, ())
    assert (found.gone, found.new, found.unclear) == ((), (), ())


def test_what_became_worse_is_marked(before: Desk, now: Desk) -> None:
    one = before.export(manifest(target="executorch", outside={"aten::elu.out": 1}))
    other = now.export(
        manifest(
            target="executorch",
            size_bytes=1100,
            judged=parity(60.0, "failed", "SNR too low"),
            outside={"aten::elu.out": 3},
        )
    )
    before.envelope("profile", profile(one, target="executorch"))
    slower = [1.5 * sample for sample in SAMPLES]
    now.envelope("profile", profile(other, target="executorch", size_bytes=1100, samples=slower))
    before.envelope("eval", evaluation(one, 0.8))
    now.envelope("eval", evaluation(other, 0.6))
    pair = only(compared(before, now))
    assert (pair.gate.before, pair.gate.now, pair.gate.mark) == ("passed", "failed", "worse")
    assert (pair.size.now, pair.size.mark, pair.size.detail) == ("0.00 MB", "worse", "+10.0%")
    assert (pair.snr.before, pair.snr.now, pair.snr.mark) == ("120.0 dB", "60.0 dB", "worse")
    assert (pair.calls.mark, pair.outside.now, pair.outside.mark) == ("", "3", "worse")
    (cost,) = pair.costs
    assert cost.mark == "worse"
    assert "ratio 1.500 (1.4" in cost.detail
    (top1,) = pair.scores
    assert (top1.before, top1.now, top1.mark) == ("80.0%", "60.0%", "worse")
    back = only(compared(now, before))
    assert back.marks == {"better", ""}


def test_counts_are_exact_and_latencies_within_their_intervals_are_no_difference(before: Desk, now: Desk) -> None:
    for desk, factor, count in ((before, 1.0, 1000), (now, 1.004, 1001)):
        artifact = desk.export(manifest())
        desk.envelope("profile", profile(artifact, samples=[factor * sample for sample in SAMPLES]))
        counting = profile(artifact, device="count", host=None, samples=(), instructions=count)
        desk.envelope("profile", counting)
    counted, timed = only(compared(before, now)).costs
    assert (counted.before, counted.now, counted.mark) == ("1,000", "1,001 instructions", "worse")
    assert "ratio 1.0010" in counted.detail
    assert timed.mark == ""


def test_other_places_and_other_bytes_are_not_compared(before: Desk, now: Desk) -> None:
    one, other = before.export(manifest()), now.export(manifest())
    before.envelope("profile", profile(one, device="Phone (adb:X)", host=None))
    before.envelope("profile", profile(one))
    now.envelope("profile", profile(other, sha256="cd" * 32))
    assert only(compared(before, now)).costs == ()


def test_artifacts_without_a_counterpart_are_named(before: Desk, now: Desk) -> None:
    before.export(manifest(precision="fp16"))
    now.export(manifest(target="coreml"))
    for place in ("a", "b"):
        now.export(manifest(), place)
    before.export(manifest())
    found = compared(before, now)
    assert (found.pairs, found.gone, found.new) == ((), ("onnx fp16",), ("coreml fp32",))
    assert len(found.unclear) == 3


def test_other_fields_are_named_up_to_a_bound(before: Desk, now: Desk) -> None:
    made = manifest()
    before.export(made)
    now.export(replace(made, tools={f"tool{number}": "1" for number in range(50)}))
    fields = only(compared(before, now)).fields
    assert len(fields) == MOST_FIELDS + 1
    assert fields[0].startswith("tools ")
    assert fields[-1] == f"and {51 - MOST_FIELDS} more"


def test_the_page_escapes_what_it_compares(before: Desk, now: Desk) -> None:
    before.export(replace(manifest(), tools={HOSTILE: "1"}))
    artifact = now.export(replace(manifest(size_bytes=2000), tools={HOSTILE: "2"}))
    now.envelope("eval", evaluation(artifact))
    page = draw(*now.runs, before=before.runs)
    assert "0.00 MB" in page
    assert "&lt;script&gt;document" in page
    assert "<script>document" not in page
    assert page.count(">worse</span>") == 1

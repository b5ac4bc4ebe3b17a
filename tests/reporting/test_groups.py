from __future__ import annotations

from dataclasses import replace

import pytest

from mobilevit_tools.reporting.evidence import Artifact
from mobilevit_tools.reporting.groups import TradeoffPoint, group_by_place, mark_optimal, published_tradeoffs, tradeoffs
from mobilevit_tools.reporting.intake import read_runs
from tests.found import judged
from tests.reporting.conftest import HOST, SHA256, Desk, evaluation, manifest, profile


def test_places_are_never_mixed(desk: Desk) -> None:
    artifact = desk.export(manifest())
    other_cpu, other_system = replace(HOST, cpu="Other CPU"), replace(HOST, system="Darwin")
    for host in (HOST, other_cpu, other_system):
        desk.envelope("profile", profile(artifact, host=host))
    desk.envelope("profile", replace(profile(artifact), threads=2))
    desk.envelope("profile", profile(artifact, device="Phone (adb:1)", host=None))
    desk.envelope("profile", profile(artifact, device="Phone (adb:2)", host=None))
    groups = group_by_place(read_runs(desk.runs).artifacts)
    assert len(groups) == 6
    assert all(len(group.measurements) == 1 for group in groups)


def test_repeated_measurements_are_numbered(desk: Desk) -> None:
    artifact = desk.export(manifest())
    desk.envelope("profile", profile(artifact))
    desk.envelope("profile", profile(artifact, samples=[5.0] * 30))
    (group,) = group_by_place(read_runs(desk.runs).artifacts)
    assert [each.label for each in group.measurements] == ["onnx fp32", "onnx fp32, run 2"]


def test_an_emulated_device_has_no_latency_whatever_a_file_says(desk: Desk) -> None:
    artifact = desk.export(manifest())
    desk.envelope("profile", profile(artifact, device="arm64:cortex-a76", host=None))
    (group,) = group_by_place(read_runs(desk.runs).artifacts)
    (measured,) = group.measurements
    assert measured.profile.latency_ms is None
    assert measured.profile.samples_ms == ()
    assert measured.cost is None


def test_a_measurement_of_other_bytes_is_marked(desk: Desk) -> None:
    artifact = desk.export(manifest(size_bytes=1000))
    desk.envelope("profile", profile(artifact, size_bytes=999))
    (group,) = group_by_place(read_runs(desk.runs).artifacts)
    assert group.measurements[0].other_bytes


@pytest.mark.parametrize(("sha256", "other"), [("cd" * 32, True), (SHA256, False), (None, False)])
def test_a_measurement_of_a_file_of_the_same_size_is_told_by_its_digest(
    desk: Desk, sha256: str | None, other: bool
) -> None:
    artifact = desk.export(manifest())
    desk.envelope("profile", profile(artifact, sha256=sha256))
    (group,) = group_by_place(read_runs(desk.runs).artifacts)
    assert group.measurements[0].other_bytes == other


def test_a_trade_is_of_one_place_and_the_same_photos(full: Desk) -> None:
    evidence = read_runs(full.runs)
    found = tradeoffs(group_by_place(evidence.artifacts))
    assert [(tradeoff.place.device, len(tradeoff.points)) for tradeoff in found] == [
        ("Phone (adb:X)", 1),
        ("count", 1),
        ("host", 2),
    ]
    artifact = next(each for each in evidence.artifacts if each.label == "onnx fp32")
    full.envelope("eval", evaluation(artifact.path, 0.9, images=7))
    found = tradeoffs(group_by_place(read_runs(full.runs).artifacts))
    assert [(each.images, len(each.points)) for each in found if each.place.device == "host"] == [
        (7, 1),
        (100, 2),
    ]


def test_a_measurement_of_other_bytes_is_traded_with_nothing(desk: Desk) -> None:
    artifact = desk.export(manifest(size_bytes=1000))
    desk.envelope("profile", profile(artifact, size_bytes=999))
    desk.envelope("eval", evaluation(artifact))
    assert tradeoffs(group_by_place(read_runs(desk.runs).artifacts)) == ()
    desk.envelope("profile", profile(artifact, size_bytes=1000))
    (tradeoff,) = tradeoffs(group_by_place(read_runs(desk.runs).artifacts))
    assert [point.size_bytes for point in tradeoff.points] == [1000]


@pytest.mark.parametrize(("sha256", "traded"), [("cd" * 32, 0), (SHA256, 1), (None, 1)])
def test_an_evaluation_of_other_bytes_is_traded_with_nothing(desk: Desk, sha256: str | None, traded: int) -> None:
    artifact = desk.export(manifest())
    desk.envelope("profile", profile(artifact, sha256=SHA256))
    desk.envelope("eval", evaluation(artifact, sha256=sha256))
    assert len(tradeoffs(group_by_place(read_runs(desk.runs).artifacts))) == traded


def test_without_a_manifest_a_measurement_and_an_evaluation_of_two_files_are_not_traded(desk: Desk) -> None:
    desk.envelope("profile", profile("m.onnx", sha256=SHA256))
    desk.envelope("eval", evaluation("m.onnx", sha256="cd" * 32))
    assert tradeoffs(group_by_place(read_runs(desk.runs).artifacts)) == ()


def point(artifact: Artifact, cost: float, top1: float, size_bytes: int) -> TradeoffPoint:
    return TradeoffPoint(artifact, "x", cost, None, judged(top1=top1).score, size_bytes)


def test_the_frontier_is_of_three_objectives(desk: Desk) -> None:
    desk.export(manifest())
    (artifact,) = read_runs(desk.runs).artifacts
    points = [
        point(artifact, 1.0, 0.7, 100),  # fastest
        point(artifact, 2.0, 0.8, 100),  # most accurate
        point(artifact, 3.0, 0.7, 50),  # smallest
        point(artifact, 2.0, 0.7, 100),  # as the first, but slower
        point(artifact, 2.0, 0.8, 100),  # as the second in everything
    ]
    assert [each.optimal for each in mark_optimal(points)] == [True, True, True, False, True]


def test_published_figures_are_of_the_family_and_of_one_device_each() -> None:
    found = published_tradeoffs(["care_s0.imagenette", "mine"])
    assert {tradeoff.device for tradeoff in found} == {"iPhone 13", "Intel i9", "RTX 4090, batch 64"}
    phone = next(tradeoff for tradeoff in found if tradeoff.device == "iPhone 13")
    assert [(card.name, card.published.latency_ms["iPhone 13"]) for card in phone.cards] == [
        ("care_s0", 1.1),
        ("care_s1", 1.4),
        ("care_s2", 2.0),
    ]
    assert phone.ours == {"care_s0", "mine"}
    assert published_tradeoffs(["mine", "clustr_s"]) == ()

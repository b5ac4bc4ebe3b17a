from __future__ import annotations

from dataclasses import replace
from importlib import import_module

import pytest

from mobilevit_tools.devices import Device
from mobilevit_tools.devices.registry import DEVICES
from mobilevit_tools.profiling.place import EMULATED, Place, place_of
from mobilevit_tools.profiling.result import PROGRAM
from tests.reporting.conftest import HOST, profile


def test_the_emulated_kinds_are_those_that_the_devices_say() -> None:
    emulated = set()
    for name, kind in DEVICES.items():
        classes = vars(import_module(kind.module)).values()
        if any(isinstance(each, type) and issubclass(each, Device) and each.emulated for each in classes):
            emulated.add(name)
    assert emulated == set(EMULATED) - {PROGRAM}  # where nothing runs


@pytest.mark.parametrize(
    ("device", "emulated"),
    [
        ("host", False),
        ("count:x86_64-avx2", True),
        ("arm64:cortex-a76", True),
        ("Pixel (adb:count)", False),
        ("counter", False),
    ],
)
def test_emulated_places(device: str, emulated: bool) -> None:
    assert Place(device, "", "", 0, 1).emulated is emulated


def test_counts_of_another_kind_of_cpu_are_another_place() -> None:
    here, there = (
        place_of(profile("m.onnx", device=device, host=None, samples=(), instructions=9))
        for device in ("count:x86_64-avx2", "count:aarch64-0x41:0xd0c")
    )
    assert here != there
    assert here.title == "count:x86_64-avx2, 1 thread"


def test_another_machine_thread_count_or_system_is_another_place() -> None:
    here = place_of(profile("m.onnx"))
    assert here == place_of(profile("other.onnx", samples=[1.0] * 30))
    assert here.title == "host, Some CPU, 1 thread"
    for other in (
        profile("m.onnx", host=replace(HOST, cpu="x")),
        profile("m.onnx", host=replace(HOST, system="x")),
        profile("m.onnx", host=replace(HOST, cores=3)),
        profile("m.onnx", device="x"),
        replace(profile("m.onnx"), threads=2),
    ):
        assert place_of(other) != here

from __future__ import annotations

import socket

import pytest

from mobilevit_tools.devices.registry import DEVICES
from mobilevit_tools.sweeping.needs import Needs, needs_of, same_device


@pytest.mark.parametrize(
    ("device", "place", "timed"),
    [
        (None, Needs(None, alone=False), False),
        ("count", Needs(None, alone=False), False),
        ("arm64:cortex-a55", Needs(None, alone=False), False),
        ("host", Needs(None, alone=True), True),
        ("browser", Needs(None, alone=True), True),
        ("adb", Needs("adb", alone=False), True),
        ("adb:R5CT30", Needs("adb:R5CT30", alone=False), True),
        ("adb:192.168.1.7:5555", Needs("adb:192.168.1.7:5555", alone=False), True),
        ("adb:emulator-5554", Needs("adb:emulator-5554", alone=True), True),
        ("adb:localhost:5555", Needs("adb:localhost:5555", alone=True), True),
        ("ssh:pi@board", Needs("ssh:board", alone=False), True),
        ("ssh:root@Board:2222", Needs("ssh:board", alone=False), True),
        ("ssh:me@127.0.0.1:2222", Needs("ssh:127.0.0.1", alone=True), True),
        ("ssh:me@[::1]:2222", Needs("ssh:::1", alone=True), True),
        (f"ssh:me@{socket.gethostname()}", Needs(f"ssh:{socket.gethostname().lower()}", alone=True), True),
        ("iphone:0000-1", Needs("iphone:0000-1", alone=False), True),
    ],
)
def test_what_a_device_occupies(device: str | None, place: Needs, timed: bool) -> None:
    assert needs_of(device) == place
    assert needs_of(device).timed == timed


def test_every_kind_of_device_says_whether_it_measures_time() -> None:
    untimed = {name for name, kind in DEVICES.items() if "no latency" in kind.meaning}
    assert untimed == {name for name in DEVICES if not needs_of(name).timed}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("adb", "adb:R5CT30", True),
        ("adb:R5CT30", "adb", True),
        ("adb:R5CT30", "adb:R5CT31", False),
        ("ssh:pi@board", "ssh:root@board:2222", True),
        ("ssh:pi@board", "ssh:pi@board2", False),
        ("iphone", "iphone:0000-1", True),
        ("arm64", "arm64:cortex-a55", False),
        ("host", "browser", False),
        ("adb:X", "adb:X", False),
    ],
)
def test_two_spellings_of_one_device(one: str, other: str, same: bool) -> None:
    assert same_device(one, other) == same

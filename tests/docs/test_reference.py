"""The generated pages are what the code says today."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import mobilevit_tools
from tests.tiers import thorough
from tools.generate_reference import (
    GENERATED,
    PACKAGE,
    PAGES,
    REFERENCE,
    SCHEMAS,
    error_codes,
    golden_fields,
    manifest_fields,
    parity_fields,
    python_api,
    python_results,
    used_packages,
)
from tools.reference_fields import schema

MEASURED = "couplformer-memory.md"


@pytest.mark.parametrize("name", [thorough(name) if name == MEASURED else name for name in PAGES])
def test_page_is_not_stale(name: str) -> None:
    written = (REFERENCE / name).read_text(encoding="utf-8")
    assert written == GENERATED + PAGES[name](), "run: python -m tools.generate_reference"


@pytest.mark.parametrize("name", SCHEMAS)
def test_schema_is_not_stale(name: str) -> None:
    assert (REFERENCE / name).read_text(encoding="utf-8") == schema(SCHEMAS[name]), (
        "run: python -m tools.generate_reference"
    )


def test_every_field_has_a_meaning() -> None:
    rows = [
        line.split(" | ")
        for page in (manifest_fields(), parity_fields(), golden_fields())
        for line in page.splitlines()
    ]
    fields = [row for row in rows if row[0].startswith("| `")]
    assert len(fields) > 200
    assert [row[0] for row in fields if not row[2].strip(" |")] == []


QUOTED = re.compile(r"\"([a-z]\w*)\"")


def literal_codes(file: Path) -> set[str]:
    """Find codes as a reader of the text would: what is passed as ``code``, or quoted in a line that sets it."""
    text = file.read_text(encoding="utf-8")
    lines = re.findall(r"^.*?(?<!\w)code\b[^=\n]*=(?!=)(.*)", text, re.MULTILINE)
    set_by_variable = {code for line in lines for code in QUOTED.findall(line) if "_" in code}
    return set_by_variable | set(re.findall(r"(?<!\w)code=\"(\w+)\"", text))


def test_every_code_in_the_sources_is_on_the_page() -> None:
    page = set(re.findall(r"^\| `(\w+)`", error_codes(), re.MULTILINE))
    found = {code: file.name for file in PACKAGE.rglob("*.py") for code in literal_codes(file)}
    assert {"no_ema", "no_state_dict", "smoke_failed", "sweep_failed", "device_not_ready", "run_failed"} <= found.keys()
    assert {code: file for code, file in found.items() if code not in page} == {}
    assert {"interrupted", "unsupported_operators", "crash", "hang"} <= page


def test_arrows_point_one_way() -> None:
    uses = used_packages()
    assert not [name for name, used in uses.items() if name not in {"cli", "api"} and used & {"cli", "api"}]
    assert "exporters" not in uses["runtimes"]
    left = dict(uses)
    while free := [name for name, used in left.items() if not used & left.keys()]:
        for name in free:
            del left[name]
    assert not left, "these use each other in a circle"


def test_the_page_on_python_has_every_public_name_once() -> None:
    shown = re.findall(r"^::: (\S+)$", python_api() + python_results(), re.MULTILINE)
    public = {getattr(mobilevit_tools, name) for name in mobilevit_tools.__all__}
    assert {f"{each.__module__}.{each.__qualname__}" for each in public} <= set(shown)
    assert "mobilevit_tools.verification.parity.InputResult" in shown  # two results deep
    assert len(shown) == len(set(shown))

from __future__ import annotations

from pathlib import Path

import pytest

from tools.conformance import page
from tools.conformance.coremltools_tests import Result
from tools.conformance.operators import Case


def test_the_page_counts_and_names_what_is_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "PAGE", tmp_path / "conformance.md")
    tests = {
        "operators": [
            Result("a/iOS14/test_conv.py::TestConv::test_one[x]", "passed", ""),
            Result("a/iOS14/test_conv.py::TestConv::test_two[x]", "wrong", "off |by\none"),
            Result("a/iOS14/test_conv.py::TestConv::test_three[x]", "skipped", ""),
            Result("a/iOS14/test_pool.py::TestPool::test_one[x]", "passed", ""),
            Result("a/iOS14/test_pool.py::TestPool::test_one[y]", "passed", ""),
        ]
    }
    cases = [Case("abs", "onnx", "passed", ""), Case("pad", "onnx", "refused", "no negative <pads>")]
    page.write(tests, cases, "Every case ran.")
    text = (tmp_path / "conformance.md").read_text()
    assert "| Operators of ML Programs | 3 | 0 | 0 | 0 | 1 | 0 | 0 | 0 |" in text
    assert "| `iOS14/test_conv::TestConv` | 1 |  |  |  | 1 |  |  |  |" in text
    assert "- wrong: `iOS14/test_conv::TestConv`: off /by one" in text
    assert "| `iOS14/test_pool" not in text
    assert "- `iOS14/test_pool`: `TestPool` (2)." in text
    assert "`abs` (1)." in text
    assert "| `pad` | 1 refused |" in text
    assert "- refused (1): `pad` on onnx: no negative (pads)" in text

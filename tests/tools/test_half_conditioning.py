"""One rounding to half precision costs what half precision has, and nothing else."""

from __future__ import annotations

import pytest

from tools import half_conditioning


def test_a_model_that_decides_nothing_loses_what_half_precision_lacks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["half_conditioning", "couplformer_kct2"])
    half_conditioning.main()
    heading, *rows = capsys.readouterr().out.splitlines()
    assert heading.split()[0] == "input"
    assert len(rows) >= 11
    for row in rows:
        of_weights, of_input = map(float, row.split()[-2:])
        assert 45 < of_weights < 90, row
        assert of_input > 45, row

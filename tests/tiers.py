"""Two tiers of tests: `make test` runs the first, `make test-thorough` the second, and CI runs both.

A thorough test is expensive, and a smaller twin of the first tier fails for the same fault: another of its own
parameters, or the test that ``pytest.mark.thorough(twin=...)`` names.
"""

from __future__ import annotations

import pytest
from _pytest.mark.structures import ParameterSet


def thorough(*values: object, id: str | None = None) -> ParameterSet:  # noqa: A002
    """Leave this parameter to `make test-thorough`: those beside it stand for it in `make test`."""
    return pytest.param(*values, id=id, marks=pytest.mark.thorough)

from __future__ import annotations

import pytest

from mobilevit_tools.data.preprocessing import MAX_SIDE
from mobilevit_tools.errors import UsageError
from mobilevit_tools.input_size import parse_size


@pytest.mark.parametrize(
    ("text", "size"), [(None, None), ("224", (224, 224)), ("192x256", (192, 256)), ("192X256", (192, 256))]
)
def test_one_side_or_two(text: str | None, size: tuple[int, int] | None) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "huge", "0", "-5", "1x2x3", "224x", "2.5", str(MAX_SIDE + 1)])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not an input size"):
        parse_size(text)

from __future__ import annotations

from mobilevit_tools.comparison.stored import Weight
from mobilevit_tools.comparison.weights import match


def weight(name: str, content: str, shape: tuple[int, ...] = (2, 2), dtype: str = "float", size: int = 16) -> Weight:
    return Weight(name, dtype, shape, size, content)


def test_weights_are_matched_by_name_first() -> None:
    a = [weight("same", "1"), weight("changed", "2"), weight("gone", "3"), weight("old_name", "4")]
    b = [weight("changed", "1"), weight("same", "1"), weight("new", "5"), weight("new_name", "4")]
    found = match(a, b)
    assert found.matched_by == "name"
    assert (found.same, found.same_bytes, found.renamed) == (2, 32, 1)
    assert [(change.a.sha256, change.b.sha256) for change in found.changed] == [("2", "1")]
    assert [each.name for each in found.only_a] == ["gone"]
    assert [each.name for each in found.only_b] == ["new"]
    assert (found.bytes_a, found.bytes_b) == (64, 64)


def test_another_shape_or_type_is_a_change() -> None:
    found = match([weight("x", "1"), weight("y", "1")], [weight("x", "1", (4,)), weight("y", "1", dtype="half")])
    assert len(found.changed) == 2
    assert found.same == 0


def test_without_names_contents_are_counted() -> None:
    a = [weight("", "1"), weight("", "1"), weight("", "2")]
    b = [weight("", "1"), weight("", "2"), weight("", "2")]
    found = match(a, b)
    assert (found.matched_by, found.same, found.renamed) == ("content", 2, 0)
    assert [each.sha256 for each in found.only_a] == ["1"]
    assert [each.sha256 for each in found.only_b] == ["2"]


def test_across_targets_names_mean_nothing() -> None:
    found = match([weight("x", "1"), weight("y", "2")], [weight("x", "2")], by_name=False)
    assert (found.matched_by, found.same, found.renamed, found.changed) == ("content", 1, 0, ())
    assert [each.name for each in found.only_a] == ["x"]

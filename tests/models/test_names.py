"""Names are listed, resolved, and when misspelt refused with the nearest ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from mobilevit_tools.errors import BadInputError, ExitCode
from mobilevit_tools.models.names import all_cards, list_models, resolve
from mobilevit_tools.models.registry import FAMILIES


def test_every_architecture_is_listed_in_the_registrys_order_with_its_tags_behind_it() -> None:
    names = list_models()
    assert [name for name in names if "." not in name] == [
        name for family in FAMILIES.values() for name in family.architectures
    ]
    assert len(set(names)) == len(names)
    assert names[names.index("care_s0") + 1] == "care_s0.imagenette"


def test_patterns_are_those_of_a_shell_and_mind_case() -> None:
    assert list_models("care_s[12]") == ["care_s1", "care_s2"]
    assert list_models("*.imagenette") == ["care_s0.imagenette"]
    assert list_models("care") == list_models("CARE*") == []


@pytest.mark.parametrize("name", list_models())
def test_every_listed_name_resolves(name: str) -> None:
    card, weights = resolve(name)
    assert name == (card.name if weights is None else f"{card.name}.{weights.tag}")


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("care_so", "care_s0"),
        ("cares0", "care_s0"),
        ("care-s1", "care_s1"),
        ("care_s0.", "care_s0"),
        ("care_s0.imagenet", "care_s0.imagenette"),
        ("care_s1.imagenette", "care_s0.imagenette"),
        ("lavit", "lavit_"),
    ],
)
def test_a_misspelt_name_is_refused_with_the_nearest(name: str, suggestion: str) -> None:
    with pytest.raises(BadInputError, match=f"no model named '{name}'") as caught:
        resolve(name)
    assert caught.value.error_code == "unknown_model"
    assert caught.value.exit_code is ExitCode.BAD_INPUT
    assert caught.value.hint is not None
    assert suggestion in caught.value.hint


@pytest.mark.parametrize("name", ["", "zzzzzzzz", "../care_s0", "care_s0.."])
def test_a_name_far_from_all_others_is_refused_too(name: str) -> None:
    with pytest.raises(BadInputError) as caught:
        resolve(name)
    assert caught.value.hint


def test_cards_come_in_listing_order() -> None:
    assert [card.name for card in all_cards()] == [name for name in list_models() if "." not in name]


def test_what_is_no_name_leads_to_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "best.pth.tar").touch()
    for name, hint in (
        ("net.py", "net.py:build"),
        ("best.pth.tar", "--checkpoint best.pth.tar"),
        ("mobilevitv2_050", "such as timm:"),
        ("x" * 5000, "such as timm:"),
    ):
        with pytest.raises(BadInputError) as refused:
            resolve(name)
        assert hint in str(refused.value.hint)

"""The state dict is found under whatever name a trainer gave it, and the average is told from the raw weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mobilevit_tools.errors import BadInputError
from mobilevit_tools.models.containers import select


def weights(value: float) -> dict[str, Tensor]:
    return {"a.weight": torch.full((2,), value), "a.bias": torch.full((1,), value)}


RAW, EMA = weights(1), weights(2)
OPTIMIZER = {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": []}


def chosen(content: object, ema: bool | None = None) -> tuple[float, bool | None]:
    tensors, took = select(content, "net.pth", ema)
    return float(tensors["a.weight"][0]), took


@pytest.mark.parametrize(
    "key", ["net", "params", "network", "weights", "current_model_state", "my_net", "policy", "encoder_state"]
)
@pytest.mark.parametrize("nested", [False, True])
def test_the_one_state_dict_is_taken_whatever_it_is_called(key: str, nested: bool) -> None:
    content = {
        key: {"state_dict": RAW} if nested else RAW,
        "optimizer": OPTIMIZER,
        "criterion": {"weight": torch.ones(4)},
        "averaging_state": {"n_averaged": torch.tensor(3)},
        "epoch": 3,
        "rng_state": torch.zeros(3),
        "metrics": {"top1": torch.tensor(0.5)},
    }
    assert chosen(content) == (1, None)
    assert chosen(content, ema=False) == (1, None)
    with pytest.raises(BadInputError, match="no moving average"):
        chosen(content, ema=True)


@pytest.mark.parametrize("key", ["ema_state_dict", "params_ema", "ema_model", "model_ema_state_dict"])
@pytest.mark.parametrize("raw", ["state_dict", "params", "net"])
def test_the_average_is_known_by_its_name(key: str, raw: str) -> None:
    content = {raw: RAW, key: EMA, "epoch": 3}
    assert [chosen(content, ema) for ema in (None, True, False)] == [(2, True), (2, True), (1, False)]


@pytest.mark.parametrize(
    "content",
    [
        {"state_dict": EMA, "current_model_state": RAW, "averaging_state": {"n_averaged": torch.tensor(3)}},
        {
            "state_dict": EMA,
            "ema_state_dict": {"steps": torch.tensor(3)} | {f"module.{key}": each for key, each in RAW.items()},
            "message_hub": {},
        },
        {"state_dict": EMA, "ema_state_dict": RAW, "meta": {"mmengine_version": "0.10.7"}},
    ],
    ids=["lightning", "mmengine", "mmengine-meta"],
)
def test_trainers_that_store_the_average_as_the_state_dict_are_known(content: dict[str, object]) -> None:
    assert chosen(content) == (2, True)
    assert chosen(content, ema=True) == (2, True)
    raw, took = select(content, "net.pth", False)
    assert (float(next(each for key, each in raw.items() if key.endswith("a.weight"))[0]), took) == (1, False)


def test_several_state_dicts_are_not_chosen_among() -> None:
    with pytest.raises(BadInputError, match="holds 2 state dicts, under teacher and student") as refusal:
        chosen({"teacher": RAW, "student": EMA, "epoch": 1})
    assert "torch.save(checkpoint['teacher'], 'weights.pth')" in (refusal.value.hint or "")


def test_extra_state_of_modules_is_no_reason_to_overlook_their_weights() -> None:
    tensors, _ = select({"model": RAW | {"a._extra_state": None}}, "net.pth", None)
    assert tensors.keys() == RAW.keys()
    with pytest.raises(BadInputError, match="no state dict"):
        select({"model": {"a._extra_state": None}}, "net.pth", None)


def test_an_average_under_a_prefix_is_left_for_the_model_to_find() -> None:
    content = {"state_dict": {f"ema_net.{key}": each for key, each in EMA.items()}}
    assert select(content, "net.pth", True)[0].keys() == content["state_dict"].keys()


def test_weights_beside_an_epoch_are_the_state_dict_and_deep_ones_are_found() -> None:
    assert chosen(RAW | {"epoch": 3, "config": {"width": 2}}) == (1, None)
    assert chosen({"checkpoint": {"model": {"state_dict": RAW}}, "epoch": 3}) == (1, None)
    assert chosen({"model": RAW | {"a.packed": None}}) == (1, None)
    with pytest.raises(BadInputError, match="no state dict: its keys are loss, epoch"):
        select({"loss": torch.ones(2), "epoch": 3}, "net.pth", None)

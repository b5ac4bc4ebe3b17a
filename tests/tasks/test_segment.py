"""A segmenter is taken as it is, or with its one map resized; what is none is refused with what it returns."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mobilevit_tools.errors import BadInputError
from mobilevit_tools.models.factory import LoadedModel, with_labels
from mobilevit_tools.models.in_memory import load_module
from mobilevit_tools.tasks.registry import TASKS, load_task, settle
from tests.tasks.nets import CARD, LABELS, SIZE, Listed, segmenter


def loaded(module: nn.Module, **card: object) -> LoadedModel:
    return load_module(module, name="net", card={**CARD, **card})


def test_scores_stay_as_they_are_or_are_resized() -> None:
    net = segmenter()
    images = torch.rand(2, 3, *SIZE)
    with torch.no_grad():
        wanted = net(images)
        resized = nn.functional.interpolate(wanted, SIZE, mode="bilinear", align_corners=False)
        for module in (net, Listed(net)):
            plain = settle(loaded(module), "segment")
            assert (plain.returns, plain.num_classes, plain.task, plain.upsampled) == ("score_map", 4, "segment", False)
            assert torch.equal(plain.module(images), wanted)
            full = settle(loaded(module), "segment", upsample=True)
            assert full.upsampled
            assert torch.equal(full.module(images), resized)


def test_a_card_says_the_task_and_labels() -> None:
    settled = settle(loaded(segmenter(), task="segment", labels=LABELS))
    assert (settled.task, settled.labels) == ("segment", LABELS)
    with pytest.raises(BadInputError, match="3 labels for 4 classes"):
        settle(loaded(segmenter(), task="segment", labels=LABELS[:3]))
    with pytest.raises(BadInputError, match="5 labels for 4 classes"):
        with_labels(settled, (*LABELS, "one more"))


def test_among_several_maps_the_one_that_libraries_call_scores_is_taken() -> None:
    class Several(nn.Module):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.net, self.aux, self.name = segmenter(), segmenter(3), name

        def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"aux": self.aux(images), self.name: self.net(images)}

    images = torch.rand(1, 3, *SIZE)
    for name in ("logits", "out"):
        settled = settle(loaded(Several(name)), "segment")
        assert settled.output_names == ()
        assert torch.equal(settled.module(images), segmenter()(images))
    with pytest.raises(BadInputError, match="1x3x8x12, 1x4x8x12 for one image"):
        settle(loaded(Several("other")), "segment")


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), "1x3 for one image"),
        (segmenter(1), "1 scores per position"),
    ],
)
def test_what_is_no_segmenter_is_refused(module: nn.Module, said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        settle(loaded(module), "segment")


def test_without_a_word_outputs_mean_what_they_hold() -> None:
    vector = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert settle(loaded(vector)).task == "classify"
    assert settle(loaded(vector, output="embedding")).task == "embed"
    assert settle(loaded(segmenter())).task == "raw"
    embedded = settle(loaded(vector), "embed")
    assert (embedded.returns, embedded.num_classes) == ("embedding", 0)
    with pytest.raises(BadInputError, match="does not return one vector"):
        settle(loaded(segmenter()), "embed")
    with pytest.raises(BadInputError, match="so it is not a classifier"):
        settle(loaded(segmenter()), "classify")


@pytest.mark.parametrize("name", TASKS)
def test_every_task_has_its_functions(name: str) -> None:
    module = load_task(name)
    assert callable(module.fit)

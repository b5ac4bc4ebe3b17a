"""A checkpoint's names are found under whatever wrapped them; what is beside is named, and nothing is guessed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune
from torch.nn.utils import spectral_norm as old_spectral_norm
from torch.nn.utils import weight_norm as old_weight_norm

from mobilevit_tools.errors import BadInputError
from mobilevit_tools.models.checkpoint import Checkpoint
from mobilevit_tools.models.loading import Fit, load_strictly


class Net(nn.Module):
    """An encoder with a norm, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4))
        self.head = nn.Linear(4, 2)


class Inside(nn.Module):
    """Keeps another model under a name, as wrappers do that choose among its outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Net()


def weights(value: float = 1) -> dict[str, Tensor]:
    return {key: torch.full_like(tensor, value) for key, tensor in Net().state_dict().items()}


def under(prefix: str, tensors: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
    return {prefix + key: tensor for key, tensor in (weights() if tensors is None else tensors).items()}


def loaded(given: dict[str, Tensor], module: nn.Module | None = None, *, ema: bool | None = None) -> tuple[float, Fit]:
    """Load into a model and return the value that all its weights got, with what was loaded."""
    module = Net() if module is None else module
    fit = load_strictly(module, Checkpoint(given, "net.ckpt", "0", None, ema))
    (value,) = {
        float(each)
        for key, tensor in module.state_dict().items()
        for each in tensor.flatten()
        if not key.endswith("num_batches_tracked")
    }
    return value, fit


STRANGER = {"criterion.weight": torch.zeros(3)}


@pytest.mark.parametrize("prefix", ["model.", "net.", "_orig_mod.", "module.", "backbone.", "student.net.", "a.b.c."])
@pytest.mark.parametrize("stranger", [{}, STRANGER, {"projector.0.weight": torch.zeros(2)}])
def test_the_prefix_that_fits_is_stripped_and_strangers_beside_are_named(
    prefix: str, stranger: dict[str, Tensor]
) -> None:
    value, fit = loaded(under(prefix) | stranger)
    assert value == 1
    assert fit.strangers == tuple(stranger)
    assert fit.ema is None


@pytest.mark.parametrize("inserted", ["_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"])
@pytest.mark.parametrize("prefix", ["", "model."])
def test_what_wraps_a_part_is_stripped_inside_of_keys(inserted: str, prefix: str) -> None:
    given = under(prefix, {key.replace("encoder.", f"encoder.{inserted}."): each for key, each in weights().items()})
    assert loaded(given | STRANGER) == (1, Fit(loaded(given)[1].tensors, ("criterion.weight",), None))


@pytest.mark.parametrize("prefix", ["", "module.", "net."])
def test_a_wrapper_around_the_model_is_no_reason_to_refuse_its_weights(prefix: str) -> None:
    value, fit = loaded(under(prefix), Inside())
    assert (value, fit.strangers) == (1, ())


@pytest.mark.parametrize(("encoder", "head"), [("backbone.", ""), ("model.", "classifier."), ("", "net.module.")])
def test_a_part_that_was_wrapped_alone_is_found(encoder: str, head: str) -> None:
    given = {(head if key.startswith("head") else encoder) + key: tensor for key, tensor in weights().items()}
    value, fit = loaded(given | STRANGER)
    assert (value, fit.strangers) == (1, ("criterion.weight",))
    del given[f"{head}head.bias"]
    with pytest.raises(BadInputError, match=r"head\.bias is missing"):
        loaded(given)


def test_losses_and_counters_inside_are_left_out_and_layers_are_not() -> None:
    given = weights() | {"loss_fn.weight": torch.zeros(2), "encoder.total_ops": torch.zeros(1)}
    given["n_averaged"] = torch.ones(())
    assert loaded(given)[1].strangers == ("loss_fn.weight",)
    for layer in ("encoder.2.weight", "aux_head.weight", "glossary.weight"):
        with pytest.raises(BadInputError, match=f"{layer} is unexpected"):
            loaded(weights() | {layer: torch.zeros(2)})
        with pytest.raises(BadInputError, match=f"{layer} is unexpected"):
            loaded(under("model.", weights() | {layer: torch.zeros(2)}))


def test_num_batches_tracked_may_be_absent_or_one_too_many() -> None:
    given = weights()
    del given["encoder.1.num_batches_tracked"]
    assert loaded(given)[0] == 1
    assert loaded(under("model.", given))[0] == 1
    assert loaded(weights() | {"encoder.0.num_batches_tracked": torch.ones(())})[0] == 1
    del given["encoder.1.running_mean"]
    with pytest.raises(BadInputError, match=r"encoder\.1\.running_mean is missing"):
        loaded(given)


def test_of_two_copies_the_average_is_taken_unless_the_raw_weights_are_asked_for() -> None:
    for average in ("ema_model.", "model_ema.module.", "net_averaged."):
        given = under("net.") | under(average, weights(2)) | {"n_averaged": torch.ones(())}
        assert [loaded(given, ema=ema)[0] for ema in (None, True, False)] == [2, 2, 1]
        assert [loaded(given, ema=ema)[1].ema for ema in (None, True, False)] == [True, True, False]
    with pytest.raises(BadInputError, match="only the moving average") as refusal:
        loaded(under("ema."), ema=False)
    assert refusal.value.error_code == "no_raw_weights"


def test_two_copies_that_differ_are_not_chosen_among() -> None:
    with pytest.raises(BadInputError, match=r"more than once, with different values: under 'student' and 'teacher'"):
        loaded(under("student.") | under("teacher.", weights(2)))
    assert loaded(under("student.") | under("teacher."))[0] == 1


def test_a_missing_part_that_two_places_have_is_not_guessed() -> None:
    given = {f"backbone.{key}": tensor for key, tensor in weights().items() if key.startswith("encoder")}
    heads = {f"{place}.{key}": tensor for place in "ab" for key, tensor in weights().items() if key.startswith("head")}
    with pytest.raises(BadInputError, match=r"head\.weight is missing"):
        loaded(given | heads)
    smaller = {"a.head.weight": torch.ones(1, 4), "a.head.bias": torch.ones(1)}
    with pytest.raises(BadInputError, match=r"head\.weight is missing"):
        loaded(given | smaller)


@pytest.mark.parametrize("whole", [True, False])
def test_weights_of_another_model_are_refused(whole: bool) -> None:
    given = under("model.") if whole else under("model.", {"head.bias": torch.ones(2)})
    given["model.head.weight"] = torch.ones(5, 4)
    with pytest.raises(BadInputError, match=r"does not fit Net: .*head\.weight has shape 5x4 instead of 2x4"):
        loaded(given)


class Layers(nn.Module):
    """A layer of each kind that has a weight to normalise."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.up = nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(4, 4, 2, bias=False)
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.up(self.conv(x)).mean((2, 3)))


def pruned(layer: nn.Module) -> nn.Module:
    return prune.l1_unstructured(layer, "weight", 0.5)


@pytest.mark.filterwarnings("ignore:.*deprecated")
@pytest.mark.parametrize(
    "change",
    [
        old_weight_norm,
        lambda layer: old_weight_norm(layer, dim=None),
        lambda layer: old_weight_norm(layer, dim=1),
        parametrizations.weight_norm,
        lambda layer: parametrizations.weight_norm(layer, dim=1),
        old_spectral_norm,
        parametrizations.spectral_norm,
        pruned,
        lambda layer: (
            prune.random_structured(prune.l1_unstructured(layer, "bias", 1), "weight", 1, dim=0)
            if layer.bias is not None
            else pruned(layer)
        ),
    ],
    ids=["old", "old-whole", "old-dim", "new", "new-dim", "spectral", "new-spectral", "pruned", "pruned-twice"],
)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_normalised_and_pruned_weights_are_folded_for_a_plain_model(change: object, prefix: str) -> None:
    torch.manual_seed(1)
    trained, image = Layers(), torch.randn(2, 3, 6, 6)
    for layer in (trained.conv, trained.up, trained.fc):
        change(layer)
    trained(image)
    trained.eval()
    with torch.no_grad():
        for name, tensor in trained.named_parameters():
            if "orig" not in name and name.endswith(("_g", "original0")):
                tensor.mul_(1.7)  # so that the weight is no longer what it was made of
    plain = Layers()
    load_strictly(plain, Checkpoint(under(prefix, trained.state_dict()), "net.pth", "0", None))
    torch.testing.assert_close(plain(image), trained(image))
    again = Layers()
    for layer in (again.conv, again.up, again.fc):
        change(layer)
    load_strictly(again, Checkpoint(under(prefix, trained.state_dict()), "net.pth", "0", None))
    torch.testing.assert_close(again.eval()(image), trained(image))


def test_parts_of_nothing_known_stay_unexpected() -> None:
    given = weights()
    given["head.parametrizations.weight.original"] = given.pop("head.weight")
    with pytest.raises(BadInputError, match=r"head\.weight is missing; head\.parametrizations\.weight\.original is un"):
        loaded(given)

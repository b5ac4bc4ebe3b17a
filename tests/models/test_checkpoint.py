"""The weights are found in every layout, the right set of them, and every key must fit."""

from __future__ import annotations

import hashlib
import os
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from mobilevit_tools.errors import BadInputError, ExitCode
from mobilevit_tools.models import checkpoint as module_under_test
from mobilevit_tools.models.checkpoint import Checkpoint, read_checkpoint
from mobilevit_tools.models.loading import load_strictly


class Tiny(nn.Module):
    """A convolution, a BatchNorm and a classifier of three classes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 3)


def weights(value: float) -> dict[str, Tensor]:
    return {key: torch.full_like(tensor, value) for key, tensor in Tiny().state_dict().items()}


RAW, EMA = weights(1), weights(2)


def prefixed(prefix: str, state_dict: dict[str, Tensor] = RAW) -> dict[str, Tensor]:
    return {prefix + key: tensor for key, tensor in state_dict.items()}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "weights.pth.tar"


def value_read(file: Path, content: object, *, ema: bool | None = None) -> tuple[float, bool | None]:
    """Save ``content``, read it, load it into a model, and return the value that its weights got."""
    torch.save(content, file)
    checkpoint = read_checkpoint(str(file), ema=ema)
    model = Tiny()
    load_strictly(model, checkpoint)
    values = {float(tensor.flatten()[0]) for tensor in model.state_dict().values()}
    assert len(values) == 1
    return values.pop(), checkpoint.ema


def averaged() -> dict[str, Tensor]:
    model = Tiny()
    model.load_state_dict(EMA)
    return AveragedModel(model).state_dict()


@pytest.mark.parametrize(
    "content",
    [
        RAW,
        nn.Module.state_dict(Tiny()) | RAW,
        {"state_dict": RAW, "epoch": 3, "args": Namespace(lr=0.1)},
        {"model": RAW, "optimizer": {"state": {0: {"step": torch.ones(1)}}}},
        {"model_state_dict": RAW, "loss": 0.5},
        {"module": RAW, "global_step": 9},
        {"model": {"state_dict": RAW}},
        {"model": RAW, "model_ema": None, "ema": 0.999},
        prefixed("module."),
        prefixed("_orig_mod."),
        prefixed("model."),
        prefixed("module._orig_mod."),
        {"state_dict": prefixed("model._orig_mod.")},
        {key: nn.Parameter(tensor) if tensor.is_floating_point() else tensor for key, tensor in RAW.items()},
    ],
    ids=range(14),
)
def test_a_single_set_of_weights_is_found(file: Path, content: object) -> None:
    assert value_read(file, content) == (1, None)
    assert value_read(file, content, ema=False) == (1, None)


@pytest.mark.parametrize(
    "content",
    [
        {"state_dict": RAW, "state_dict_ema": EMA},
        {"state_dict_ema": EMA, "state_dict": RAW},
        {"model": RAW, "model_ema": EMA},
        {"model": RAW, "ema": EMA},
        {"model": RAW, "ema": {"module": EMA, "decay": 0.999}},
        {"model": RAW, "model_ema": averaged()},
        {"state_dict": prefixed("module."), "state_dict_ema": prefixed("module.", EMA)},
    ],
    ids="+".join,
)
def test_the_moving_average_is_preferred_and_both_can_be_asked_for(file: Path, content: object) -> None:
    assert value_read(file, content) == (2, True)
    assert value_read(file, content, ema=True) == (2, True)
    assert value_read(file, content, ema=False) == (1, False)


def test_a_file_with_the_average_alone_says_so(file: Path) -> None:
    assert value_read(file, {"state_dict_ema": EMA}) == (2, True)
    with pytest.raises(BadInputError, match="only the moving average") as caught:
        value_read(file, {"state_dict_ema": EMA}, ema=False)
    assert caught.value.error_code == "no_raw_weights"


def test_an_average_that_is_not_there_is_never_replaced_by_the_raw_weights(file: Path) -> None:
    with pytest.raises(BadInputError, match="no moving average") as caught:
        value_read(file, {"state_dict": RAW}, ema=True)
    assert caught.value.error_code == "no_ema"


def test_an_average_of_nothing_ends_and_fits_nothing(file: Path) -> None:
    torch.save({"n_averaged": torch.tensor(3)}, file)
    with pytest.raises(BadInputError, match=r"stem\.weight is missing") as caught:
        load_strictly(Tiny(), read_checkpoint(str(file)))
    assert caught.value.error_code == "checkpoint_mismatch"


def test_a_prefix_that_only_some_keys_carry_stays(file: Path) -> None:
    torch.save({**prefixed("module."), "extra": torch.ones(1)}, file)
    assert set(read_checkpoint(str(file)).state_dict) == {*prefixed("module."), "extra"}


class Wrap(nn.Module):
    """Keeps everything under one name, as people's wrappers do."""

    def __init__(self, name: str) -> None:
        super().__init__()
        setattr(self, name, Tiny())


@pytest.mark.parametrize("name", ["model", "module"])
@pytest.mark.parametrize("wrapper", ["", "module.", "_orig_mod.", "model.", "module._orig_mod."])
def test_a_prefix_that_is_the_models_own_stays(file: Path, name: str, wrapper: str) -> None:
    torch.save({"state_dict": prefixed(f"{wrapper}{name}.")}, file)
    model = Wrap(name)
    load_strictly(model, read_checkpoint(str(file)))
    assert {float(tensor.flatten()[0]) for tensor in model.state_dict().values()} == {1}


def test_the_average_of_a_model_with_a_prefix_of_its_own_loads(file: Path) -> None:
    model = Wrap("module")
    model.load_state_dict(prefixed("module.", EMA))
    torch.save(AveragedModel(model).state_dict(), file)
    loaded = Wrap("module")
    load_strictly(loaded, read_checkpoint(str(file)))
    assert torch.equal(loaded.state_dict()["module.head.bias"], EMA["head.bias"])


def test_a_prefix_that_fits_halfway_is_refused(file: Path) -> None:
    torch.save(prefixed("module.model.", {key: RAW[key] for key in RAW if key != "head.bias"}), file)
    with pytest.raises(BadInputError, match=r"does not fit Wrap: model\.head\.bias is missing\.") as caught:
        load_strictly(Wrap("model"), read_checkpoint(str(file)))
    assert caught.value.error_code == "checkpoint_mismatch"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"epoch": 3, "optimizer": {"lr": 0.1}}, "its keys are epoch, optimizer"),
        ({"state_dict": {}}, "its keys are state_dict"),
        ({}, "its content is a dict"),
        ([torch.ones(2)], "its content is a list"),
        (torch.ones(2), "its content is a Tensor"),
        ({"weight": torch.ones(2), "epoch": 3}, "its keys are weight, epoch"),
        ({f"k{index}": index for index in range(50)}, "k8, k9."),
    ],
)
def test_a_file_without_a_state_dict_says_what_it_holds(file: Path, content: object, said: str) -> None:
    torch.save(content, file)
    with pytest.raises(BadInputError) as caught:
        read_checkpoint(str(file))
    assert "holds no state dict" in caught.value.message
    assert said in caught.value.message


def test_a_dictionary_that_contains_itself_ends(file: Path) -> None:
    endless: dict[str, object] = {"epoch": 1}
    endless["model"] = endless["ema"] = endless
    torch.save(endless, file)
    with pytest.raises(BadInputError, match="no state dict"):
        read_checkpoint(str(file))


def test_safetensors_and_the_digest(tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    save_file(RAW, file)
    checkpoint = read_checkpoint(str(file))
    assert checkpoint.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert checkpoint.source == str(file)
    load_strictly(Tiny(), checkpoint)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_float32(file: Path, dtype: torch.dtype) -> None:
    model = Tiny()
    torch.save({key: t.to(dtype) if t.is_floating_point() else t for key, t in weights(0.1).items()}, file)
    load_strictly(model, read_checkpoint(str(file)))
    assert {tensor.dtype for tensor in model.parameters()} == {torch.float32}
    assert model.head.bias[0] == torch.tensor(0.1, dtype=dtype).float()


def test_every_misfit_is_listed() -> None:
    given = {key: tensor for key, tensor in RAW.items() if key not in ("stem.bias", "norm.bias")}
    given |= {"head.weight": torch.ones(5, 4), "stem.weight": torch.ones(4, 3, 1, 1, dtype=torch.int8)}
    given |= {"aux.weight": torch.ones(1), "norm.num_batches_tracked": torch.tensor([1])}
    model = Tiny()
    before = model.state_dict()["norm.weight"].clone()
    with pytest.raises(BadInputError) as caught:
        load_strictly(model, Checkpoint(given, "care.pth", "0", None))
    assert caught.value.exit_code is ExitCode.BAD_INPUT
    assert caught.value.error_code == "checkpoint_mismatch"
    assert caught.value.message == (
        "care.pth does not fit Tiny: stem.bias is missing; norm.bias is missing; aux.weight is unexpected; "
        "stem.weight has type int8 instead of float32; "
        "norm.num_batches_tracked has shape 1 instead of scalar; head.weight has shape 5x4 instead of 3x4."
    )
    assert torch.equal(model.state_dict()["norm.weight"], before)


@pytest.mark.parametrize(("surplus", "tail"), [(10, None), (11, "; and 1 more."), (40, "; and 30 more.")])
def test_ten_misfits_are_listed_and_the_rest_counted(surplus: int, tail: str | None) -> None:
    given = RAW | {f"x{index:02}": torch.ones(1) for index in range(surplus)}
    with pytest.raises(BadInputError) as caught:
        load_strictly(Tiny(), Checkpoint(given, "care.pth", "0", None))
    assert caught.value.message.count("is unexpected") == 10
    assert caught.value.message.endswith(tail or "x09 is unexpected.")


def test_surplus_keys_are_dropped_and_no_others() -> None:
    given = RAW | {"aux.weight": torch.ones(1)}
    load_strictly(Tiny(), Checkpoint(given, "care.pth", "0", None), surplus={"aux.weight", "head.weight"})
    with pytest.raises(BadInputError, match=r"other\.weight is unexpected"):
        load_strictly(
            Tiny(), Checkpoint(given | {"other.weight": torch.ones(1)}, "c.pth", "0", None), surplus={"aux.weight"}
        )
    del given["head.weight"]
    with pytest.raises(BadInputError, match=r"head\.weight is missing"):
        load_strictly(Tiny(), Checkpoint(given, "c.pth", "0", None), surplus={"aux.weight", "head.weight"})


@pytest.mark.parametrize(
    ("state_dict", "count"),
    [
        (RAW, 3),
        (prefixed("module._orig_mod."), 3),
        ({"head.bias": torch.ones(7)}, 7),
        ({"head.weight": torch.tensor(1.0)}, None),
        ({"stem.weight": torch.ones(4)}, None),
    ],
)
def test_the_class_count_is_that_of_the_classifier(state_dict: dict[str, Tensor], count: int | None) -> None:
    assert Checkpoint(state_dict, "care.pth", "0", None).class_count("head") == count


def test_a_class_count_beyond_all_reason_is_refused() -> None:
    given = {"head.bias": torch.ones(module_under_test.MAX_CLASSES)}
    assert Checkpoint(given, "care.pth", "0", None).class_count("head") == module_under_test.MAX_CLASSES
    given = {"head.weight": torch.ones(module_under_test.MAX_CLASSES + 1, 0)}
    with pytest.raises(BadInputError, match="claims 250001 classes"):
        Checkpoint(given, "care.pth", "0", None).class_count("head")


def test_a_tensor_larger_than_its_file_is_refused(file: Path) -> None:
    torch.save(RAW | {"head.weight": torch.ones(1, 1).expand(10**6, 10**6)}, file)
    with pytest.raises(BadInputError, match=r"claims 4000000000000 bytes for head\.weight") as caught:
        read_checkpoint(str(file))
    assert caught.value.error_code == "checkpoint_expands"


def test_paths_that_are_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    big = tmp_path / "big.pth"
    big.write_bytes(b"12345")
    monkeypatch.setattr(module_under_test, "MAX_BYTES", 4)
    for path, said in [
        (tmp_path, "is a folder"),
        (tmp_path / "absent.pth", "There is no checkpoint at"),
        (fifo, "is not a regular file"),
        (big, "is larger than"),
    ]:
        with pytest.raises(BadInputError, match=said):
            read_checkpoint(str(path))


def test_a_file_that_may_not_be_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    file.write_bytes(b"x")
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(BadInputError, match="cannot be read: Permission denied"):
        read_checkpoint(str(file))


def test_hub_addresses_go_to_the_hub(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(RAW, file)
    monkeypatch.setattr(module_under_test.hub, "download", lambda address: file if address.endswith("a.pth") else None)
    assert read_checkpoint("hf://someone/care/a.pth").source == "hf://someone/care/a.pth"

"""transformers' image models by repository or folder: input, labels, weights, names of outputs, and refusals."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mobilevit_tools.errors import BadInputError, UsageError
from mobilevit_tools.models.factory import load_model
from mobilevit_tools.models.references import folder_name, path_in, short_name
from mobilevit_tools.models.sources.torchvision import make_importable

Put = Callable[[str, Mapping[str, bytes]], None]
RECIPE = {
    "do_normalize": True,
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.2, 0.2, 0.25],
    "size": {"height": 32, "width": 32},
    "resample": 2,
}


def _transformers() -> object:
    make_importable()
    import transformers

    return transformers


def _vit(folder: Path, kind: str = "ViTForImageClassification", **changes: object) -> torch.nn.Module:
    library = _transformers()
    config = library.ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=32,
        patch_size=8,
        id2label={0: "cat", 1: "dog", 2: "eel"},
        **changes,
    )
    torch.manual_seed(3)
    model = getattr(library, kind)(config).eval()
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(RECIPE))
    return model


def test_a_folder_gives_weights_input_and_labels(tmp_path: Path) -> None:
    theirs = _vit(tmp_path / "vit")
    loaded = load_model(f"hf:{tmp_path / 'vit'}")
    assert loaded.name == "hf:vit"  # no path of this machine
    assert (loaded.returns, loaded.labels, loaded.output_names) == ("logits", ("cat", "dog", "eel"), ("logits",))
    assert loaded.preprocessing.input_size == (32, 32)
    assert loaded.preprocessing.crop_fraction is None
    assert loaded.preprocessing.interpolation == "bilinear"
    assert (loaded.preprocessing.mean, loaded.preprocessing.std) == ((0.5, 0.4, 0.3), (0.2, 0.2, 0.25))
    image = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(loaded.module(image), theirs(image).logits)


def test_a_repository_is_read_from_the_hubs_cache(tmp_path: Path, hub_cache: Put) -> None:
    theirs = _vit(tmp_path / "vit")
    files = {path.name: path.read_bytes() for path in (tmp_path / "vit").iterdir()}
    hub_cache("them/small-vit", {**files, "README.md": b"---\nlicense: apache-2.0\n---\n# A net\n"})
    loaded = load_model("hf:them/small-vit")
    assert loaded.name == "hf:them/small-vit"
    assert loaded.license == "apache-2.0"
    assert loaded.weights.source == "hf://them/small-vit/model.safetensors"
    image = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(loaded.module(image), theirs(image).logits)


def test_offline_a_repository_in_the_cache_needs_no_card(tmp_path: Path, hub_cache: Put) -> None:
    _vit(tmp_path / "vit")
    hub_cache("them/small-vit", {path.name: path.read_bytes() for path in (tmp_path / "vit").iterdir()})
    assert load_model("hf:them/small-vit").license == "not stated"


def test_what_transformers_would_leave_random_is_refused(tmp_path: Path) -> None:
    model = _vit(tmp_path / "vit")
    weights = {key: tensor for key, tensor in model.state_dict().items() if not key.startswith("classifier")}
    save_file(weights, tmp_path / "vit" / "model.safetensors")
    with pytest.raises(BadInputError, match=r"classifier\.weight is missing; classifier\.bias is missing\."):
        load_model(f"hf:{tmp_path / 'vit'}")


def test_another_class_count_has_other_labels(tmp_path: Path) -> None:
    _vit(tmp_path / "vit")
    loaded = load_model(f"hf:{tmp_path / 'vit'}", random_weights=True, num_classes=5)
    assert (loaded.num_classes, loaded.labels) == (5, None)


def test_fields_of_an_output_are_the_names(tmp_path: Path) -> None:
    _vit(tmp_path / "vit", kind="ViTModel")
    loaded = load_model(f"hf:{tmp_path / 'vit'}")
    assert (loaded.returns, loaded.output_names) == ("features", ("last_hidden_state", "pooler_output"))


def test_a_model_of_bgr_gets_it(tmp_path: Path) -> None:
    library = _transformers()
    config = library.MobileViTConfig(
        num_labels=4, hidden_sizes=[8, 12, 16], neck_hidden_sizes=[4, 4, 6, 8, 8, 10, 12], image_size=32
    )
    theirs = library.MobileViTForImageClassification(config).eval()
    theirs.save_pretrained(tmp_path / "net")
    recipe = {
        "do_center_crop": True,
        "crop_size": {"height": 32, "width": 32},
        "size": {"shortest_edge": 36},
        "do_flip_channel_order": True,
    }
    (tmp_path / "net" / "preprocessor_config.json").write_text(json.dumps(recipe))
    loaded = load_model(f"hf:{tmp_path / 'net'}")
    assert loaded.preprocessing.crop_fraction == pytest.approx(32 / 36)
    assert (loaded.preprocessing.mean, loaded.preprocessing.std) == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    image = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(loaded.module(image), theirs(image.flip(1)).logits)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "vit", "architectures": ["TheirNet"], "auto_map": {}}, "no model 'TheirNet'"),
        ({"model_type": "theirs", "architectures": ["ViTModel"], "auto_map": {"AutoModel": "net.Net"}}, "custom code"),
        ({"model_type": "bert", "architectures": ["BertModel"]}, "takes input_ids, not only an image"),
        ({"model_type": "clip", "architectures": ["CLIPModel"]}, "takes input_ids, not only an image"),
        ({"model_type": "vit", "architectures": ["ViTConfig"]}, "is not a transformers model"),
    ],
)
def test_what_is_no_image_model_is_refused(tmp_path: Path, config: dict[str, object], message: str) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadInputError, match=message):
        load_model(f"hf:{tmp_path / 'net'}", random_weights=True)


def test_names_and_options_are_checked(tmp_path: Path) -> None:
    _vit(tmp_path / "vit")
    with pytest.raises(UsageError, match="no option named 'hidden_sise'"):
        load_model(f"hf:{tmp_path / 'vit'}", random_weights=True, options={"hidden_sise": 3})
    with pytest.raises(BadInputError, match="no folder vitt"):
        load_model("hf:vitt", random_weights=True)
    with pytest.raises(BadInputError, match="not the name of a repository"):
        load_model("hf:a/b/c", random_weights=True)


def test_names_hold_no_path_and_make_safe_folders(tmp_path: Path) -> None:
    assert path_in("hf:them/net") is None
    assert path_in(f"hf:{tmp_path}") == str(tmp_path)
    assert path_in("hf:net") == "net"
    assert short_name(f"hf:{tmp_path / 'net'}") == "hf:net"
    assert folder_name("hf:them/net@v1.0") == "hf_them_net_v1.0"
    assert folder_name("timm:net.tag_in1k") == "timm_net.tag_in1k"

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

pytest.importorskip("pnnx", reason="the `ncnn` extra is not installed; make test-targets")

import mobilevit_tools
from mobilevit_tools.data.contract import Contract
from mobilevit_tools.errors import BadInputError, UsageError
from mobilevit_tools.exporters import ncnn as exporter
from mobilevit_tools.exporters.ncnn_picks import pick_thirds
from tests.optional import Net, artifact, exported

pytestmark = pytest.mark.targets
NORMAL = {"input_size": (16, 16), "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


@pytest.mark.parametrize(("precision", "least"), [("fp32", 100.0), ("fp16", 50.0)])
def test_ncnn_computes_the_model(precision: str, least: float) -> None:
    (made,) = exported("ncnn", precision).artifacts
    assert made.parity.status == "passed"
    assert made.parity.snr_db is not None
    assert made.parity.snr_db >= least


def test_half_precision_halves_what_is_stored() -> None:
    whole, half = ((artifact("ncnn", precision) / "model.bin").stat().st_size for precision in ("fp32", "fp16"))
    assert half < 0.8 * whole


def test_what_lies_beside_the_network() -> None:
    folder = artifact("ncnn")
    contract = Contract.from_json((folder / "contract.json").read_text())
    assert (contract.model, contract.labels) == ("net", ("cat", "dog", "horse"))
    assert (folder / "labels.txt").read_text().splitlines() == ["cat", "dog", "horse"]
    signature = json.loads((folder / "signature.json").read_text())
    assert signature == {"inputs": {"image": [1, 3, 16, 16]}, "outputs": {"logits": [1, 3]}, "fp16": False}
    assert len(list(folder.iterdir())) == 5


def test_attention_in_five_dimensions_is_written_in_four() -> None:
    torch.manual_seed(0)
    example = torch.randn(1, 3, 16, 16)
    program = torch.export.export(Net().eval(), (example,), strict=False)
    assert max(node.meta["val"].dim() for node in program.graph.nodes if torch.is_tensor(node.meta.get("val"))) == 5
    assert pick_thirds(program, (example,)) == 3
    assert max(node.meta["val"].dim() for node in program.graph.nodes if torch.is_tensor(node.meta.get("val"))) == 4


class _Deep(nn.Module):
    """Keeps five dimensions for good."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        moved = x.unflatten(2, (4, 4)).unflatten(4, (4, 4)).permute(3, 5, 2, 4, 1, 0)
        return moved.softmax(2).flatten(2).mean(0)[:1, :3].flatten(1)


def test_what_pnnx_leaves_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"pnnx leaves \S+.* as it is, and ncnn cannot load that") as caught:
        mobilevit_tools.export(_Deep(), name="deep", targets="ncnn", output=tmp_path, task="raw", **NORMAL)
    assert caught.value.error_code == "not_convertible"
    assert not list(tmp_path.rglob("*.ncnn"))


@pytest.mark.parametrize(
    ("asked", "said"),
    [({"batch": 2}, "one image at a time"), ({"precision": "fp16", "fp16_keep": ["head"]}, "keeps no operator")],
)
def test_what_ncnn_has_not_is_refused(tmp_path: Path, asked: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        mobilevit_tools.export(Net(), name="net", targets="ncnn", output=tmp_path, **NORMAL, **asked)  # type: ignore[arg-type]


def test_a_converter_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporter, "_PATIENCE_SECONDS", 0.001)
    with pytest.raises(BadInputError, match=r"pnnx takes more than 0\.001 s"):
        mobilevit_tools.export(Net(), name="net", targets="ncnn", output=tmp_path, **NORMAL)

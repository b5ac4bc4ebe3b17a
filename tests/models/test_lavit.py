"""LaViT's transformed attention, its loss, and its tables at another input size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mobilevit_tools.errors import BadInputError
from mobilevit_tools.models.factory import create_model
from mobilevit_tools.models.lavit import LessAttention, ScoreResidual, VanillaAttention, diagonality_loss
from mobilevit_tools.models.tables import resize_positions, resize_score_transform


def test_less_attention_transforms_the_scores_along_both_axes() -> None:
    torch.manual_seed(0)
    layer = LessAttention(8, 2, 6).double()
    x, scores = torch.randn(1, 6, 8, dtype=torch.float64), torch.randn(1, 2, 6, 6, dtype=torch.float64)
    out, passed_on = layer(x, scores)
    theta, psi = layer.theta.weight, layer.psi.weight
    values = layer.v(x)[0].reshape(6, 2, 4)
    heads = []
    for head in range(2):
        first = scores[0, head] @ theta.T + layer.theta.bias  # Theta acts on each row
        second = psi @ first + layer.psi.bias[:, None]  # Psi on each column
        torch.testing.assert_close(passed_on[0, head], second)  # handed on before the softmax
        heads.append(second.softmax(dim=1) @ values[:, head])
    torch.testing.assert_close(out[0], layer.proj(torch.cat(heads, dim=1)))


def test_a_residual_is_added_to_the_scores_before_the_softmax() -> None:
    torch.manual_seed(0)
    layer = VanillaAttention(8, 2)
    x, residual = torch.randn(1, 6, 8), torch.randn(1, 2, 6, 6)
    _, plain = layer(x, None)
    _, added = layer(x, residual)
    torch.testing.assert_close(added, plain + residual)


def test_a_score_residual_downsamples_the_map_and_changes_the_heads() -> None:
    assert ScoreResidual(5, 7).eval()(torch.randn(2, 5, 24, 24)).shape == (2, 7, 6, 6)


def test_the_diagonality_loss_is_that_of_the_definition() -> None:
    scores = torch.randn(1, 1, 4, 4, dtype=torch.float64)
    p = scores[0, 0].softmax(dim=-1)
    asymmetry = sum((p[i, j] - p[j, i]).abs() for i in range(4) for j in range(4)) / 16
    balance = sum(3 * p[i, i] - sum(p[i, j] for j in range(4) if j != i) for i in range(4)) / 16
    torch.testing.assert_close(diagonality_loss([scores]), asymmetry + balance)
    torch.testing.assert_close(diagonality_loss([scores, scores]), 2 * (asymmetry + balance))


def test_training_returns_the_loss_only_where_it_has_a_weight() -> None:
    x = torch.randn(2, 3, 64, 64)
    plain = create_model("lavit_t", random_weights=True, img_size=64).train()
    assert isinstance(plain(x), torch.Tensor)
    weighted = create_model("lavit_t", random_weights=True, img_size=64, diagonality_weight=0.5)
    assert isinstance(weighted(x), torch.Tensor)
    logits, loss = weighted.train()(x)
    weighted.diagonality_weight = 1.0
    assert logits.shape == (2, 1000)
    assert weighted(x)[1].item() == pytest.approx(2 * loss.item(), rel=1e-5)


@pytest.mark.parametrize("sizes", [((64, 64), (96, 128)), ((128, 128), (64, 64))])
def test_a_checkpoint_of_another_size_is_resized(sizes: tuple[tuple[int, int], ...], tmp_path: Path) -> None:
    source = create_model("lavit_s", random_weights=True, img_size=sizes[0])
    path = tmp_path / "lavit.pth"
    torch.save(source.state_dict(), path)
    resized = create_model("lavit_s", checkpoint=path, img_size=sizes[1])
    tied = {"pos_embed", "theta.weight", "theta.bias", "psi.weight", "psi.bias"}
    for key, value in resized.state_dict().items():
        if not any(key.endswith(name) for name in tied):
            assert torch.equal(value, source.state_dict()[key]), key
    assert torch.isfinite(resized(torch.randn(1, 3, *sizes[1]))).all()


def test_another_grid_of_as_many_tokens_is_resized_in_every_table(tmp_path: Path) -> None:
    trained = create_model("lavit_t", random_weights=True, img_size=64).state_dict()
    torch.save(trained, tmp_path / "lavit.pth")
    wide = create_model("lavit_t", checkpoint=tmp_path / "lavit.pth", img_size=(32, 128)).state_dict()
    last = "stages.3.blocks.1.attn.theta.weight"
    assert torch.equal(wide["stages.0.pos_embed"], resize_positions(trained["stages.0.pos_embed"], (8, 32)))
    assert torch.equal(wide[last], resize_score_transform(trained[last], (1, 4)))
    assert not torch.equal(wide[last], trained[last])


def test_another_input_size_than_the_builts_is_refused() -> None:
    with pytest.raises(BadInputError, match="built for 64x96"):
        create_model("lavit_t", random_weights=True, img_size=(64, 96))(torch.zeros(1, 3, 96, 64))

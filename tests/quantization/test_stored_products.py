"""Products with trained matrices become linear layers of the same name, and only those."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mobilevit_tools.errors import MvtError
from mobilevit_tools.quantization import stored_products
from mobilevit_tools.quantization.stored_products import write_stored_products


class Mixer(nn.Module):
    """Layers as people write them without nn.Linear; ``shared`` is read in two ways."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        shapes = {
            "patch": (8, 3),
            "left": (8, 8),
            "right": (8, 6),
            "heads": (6, 2, 4),
            "out": (2, 4, 5),
            "shared": (5, 5),
        }
        self.weights = nn.ParameterDict({name: torch.randn(shape) for name, shape in shapes.items()})
        self.stacks = nn.Parameter(torch.randn(4, 5, 5))
        self.register_buffer("mean", torch.full((5, 5), 0.2))

    def forward(self, x: Tensor) -> Tensor:
        w = self.weights
        x = torch.einsum("oc,bcn->bon", w["patch"], x.flatten(2)).relu()
        x = (w["left"] @ x).transpose(1, 2) @ w["right"]
        x = torch.einsum("bnc,chd->bhnd", x, w["heads"])
        x = torch.einsum("bhnd,hdo->bno", x.relu(), w["out"])
        x = x @ w["shared"].t() + x @ w["shared"]
        x = torch.einsum("bnc,nco->bno", x[:, :4], self.stacks)  # a matrix for each token is no layer
        return (x @ self.mean).mean(1)


@pytest.mark.parametrize("free_batch", [False, True])
def test_products_become_layers(free_batch: bool) -> None:
    module = Mixer().eval().requires_grad_(requires_grad=False)
    written, applied = write_stored_products(module, torch.randn(2, 3, 4, 4), free_batch=free_batch)
    assert applied is not None
    assert applied.places == 7
    x = torch.randn(5 if free_batch else 2, 3, 4, 4)
    torch.testing.assert_close(written(x), module(x), rtol=1e-4, atol=1e-5)
    names = dict(written.named_parameters())
    assert names.keys() == {
        *(f"weights.{name}" for name in ("patch", "left", "right", "heads", "out", "shared")),
        "weights.shared_2",
        "stacks",
    }
    assert names["weights.heads"].shape == (8, 6)
    operators = [str(node.target) for node in torch.export.export(written, (x,), strict=False).graph.nodes]
    assert operators.count("aten.linear.default") == 7
    assert operators.count("aten.einsum.default") == operators.count("aten.matmul.default") == 1


def test_a_model_without_such_products_stays_what_it_is() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(16, 2)).eval()
    assert write_stored_products(module, torch.randn(1, 3, 2, 2)) == (module, None)


def test_a_wrong_matrix_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = stored_products._matrix
    monkeypatch.setattr(stored_products, "_matrix", lambda *given: honest(*given) * (1 + 1e-6))
    with pytest.raises(MvtError, match="output 1 of the program differs"):
        write_stored_products(Mixer(), torch.randn(1, 3, 4, 4))

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mobilevit_tools.forms.constants import constants_changed_in_place, fold_constants


class Table(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Parameter(torch.randn(1, 3, 4, 4))
        self.weight = nn.Parameter(torch.randn(8, 5))
        self.register_buffer("step", torch.arange(5.0))

    def forward(self, x: Tensor) -> Tensor:
        resized = F.interpolate(self.table, size=(8, 8), mode="bicubic") + torch.eye(8)
        moved = (x + resized) @ self.weight
        return moved * torch.sigmoid(self.step) + torch.randn(5) * 0


def test_what_weights_alone_give_is_stored() -> None:
    module, x = Table().eval(), torch.randn(2, 3, 8, 8)
    program = torch.export.export(module, (x,), strict=False).run_decompositions({})
    assert fold_constants(program) == 2
    left = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert not [name for name in left if "bicubic" in name or "eye" in name or "sigmoid" in name]
    assert any("randn" in name for name in left)
    torch.testing.assert_close(program.module()(x), module(x))
    again = program.run_decompositions({})
    torch.testing.assert_close(again.module()(x), module(x))
    assert fold_constants(program) == 0


def test_moved_weights_stay_weights() -> None:
    class Moved(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(5, 8))

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.weight.t()

    program = torch.export.export(Moved(), (torch.randn(2, 8),), strict=False).run_decompositions({})
    assert fold_constants(program) == 0
    assert fold_constants(program, moved=True) == 1


class Mask(nn.Module):
    """A mask that is filled in place, as Swin's is, and one of the input's own values."""

    def __init__(self, own: bool) -> None:
        super().__init__()
        self.own = own

    def forward(self, x: Tensor) -> Tensor:
        mask = (x * 0 if self.own else torch.zeros(2, 8)) + torch.eye(2, 8)
        mask[:, :3].reshape(2, 3)[1] = 7
        return x + mask.exp()


def test_what_is_changed_in_place_is_not_stored_as_it_was_before() -> None:
    x = torch.randn(2, 8)
    program = torch.export.export(Mask(own=False), (x,), strict=False)
    assert constants_changed_in_place(program)
    fold_constants(program, moved=True)
    torch.testing.assert_close(program.module()(x), Mask(own=False)(x))
    functional = program.run_decompositions({})
    assert not constants_changed_in_place(functional)
    assert fold_constants(functional, moved=True) == 1
    torch.testing.assert_close(functional.module()(x), Mask(own=False)(x))
    assert "aten.exp.default" not in [str(node.target) for node in functional.graph.nodes]


def test_changes_of_the_inputs_own_values_are_no_changes_of_constants() -> None:
    program = torch.export.export(Mask(own=True), (torch.randn(2, 8),), strict=False)
    assert not constants_changed_in_place(program)


def test_what_is_made_like_an_input_depends_on_its_shape_alone() -> None:
    class Masked(nn.Module):
        """A mask as torchvision's Swin makes it: zeros like the input, filled by window, compared."""

        def forward(self, x: Tensor) -> Tensor:
            mask = x.new_zeros((4, 4))
            mask[2:, :2] = 1
            mask[:2, 2:] = 2
            apart = (mask.reshape(1, 16) - mask.reshape(16, 1)) != 0
            table = torch.where(apart, torch.full_like(x[0, 0, 0, 0], -100.0), torch.zeros_like(apart, dtype=x.dtype))
            return x.flatten(2) @ table + x.new_full((16,), 0.5) * torch.ones_like(x).flatten(2)

    module, x = Masked().eval(), torch.randn(1, 3, 4, 4)
    program = torch.export.export(module, (x,), strict=False)
    assert constants_changed_in_place(program)
    program = program.run_decompositions({})
    fold_constants(program)
    left = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert not [name for name in left if "slice" in name or "where" in name or "fill" in name or "full" in name]
    torch.testing.assert_close(program.module()(x), module(x))


def test_numbers_that_are_computed_and_sizes_that_are_free_stay() -> None:
    class Computed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.full_like(x, x.sum().item()) + torch.zeros_like(x)

    with torch.no_grad():
        program = torch.export.export(
            Computed().eval(), (torch.ones(2, 3),), dynamic_shapes=({0: torch.export.Dim("n")},), strict=False
        )
    before = [str(node.target) for node in program.graph.nodes]
    fold_constants(program)
    assert [name for name in before if "like" in name] == [
        str(node.target) for node in program.graph.nodes if "like" in str(node.target)
    ]


class Named(nn.Module):
    """Has a buffer called as what is folded would be."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("to_folded", torch.full((8,), 3.0))
        self.register_buffer("places", torch.arange(8))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.places.to(x.dtype) + self.to_folded


def test_the_name_of_another_constant_is_left_to_it() -> None:
    module, x = Named().eval(), torch.randn(2, 3, 8, 8)
    program = torch.export.export(module, (x,), strict=False)
    assert fold_constants(program, moved=True) == 1
    torch.testing.assert_close(program.module()(x), module(x))

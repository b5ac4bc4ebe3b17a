from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
import torch.ao.quantization.fx._decomposed  # registers the operators
from torch import nn
from torch.fx import Graph, GraphModule

from mobilevit_tools.api.finetune import _check_floating
from mobilevit_tools.errors import BadInputError, UsageError
from mobilevit_tools.models.own_ranges import has_ranges, module_of, stored_values, with_ranges

LEVELS = (-128, 127, torch.int8)
_ops = torch.ops.quantized_decomposed


def rounding(scale: float = 0.5) -> GraphModule:
    """A graph that rounds its input."""
    graph = Graph()
    x = graph.placeholder("x")
    rounded = graph.call_function(_ops.quantize_per_tensor.default, (x, scale, 0, *LEVELS))
    graph.output(graph.call_function(_ops.dequantize_per_tensor.default, (rounded, scale, 0, *LEVELS)))
    return GraphModule(nn.Module(), graph)


def test_a_graph_that_rounds_has_ranges_wherever_it_is() -> None:
    assert has_ranges(rounding())
    assert has_ranges(nn.Sequential(nn.ReLU(), rounding()))
    assert not has_ranges(nn.Sequential(nn.ReLU()))
    assert not has_ranges(torch.fx.symbolic_trace(nn.Sequential(nn.ReLU())))


def test_a_program_is_taken_as_its_module() -> None:
    program = torch.export.export(rounding(), (torch.zeros(2),), strict=False)
    module = module_of(program)
    assert isinstance(module, GraphModule)
    assert has_ranges(module)
    net = nn.ReLU()
    assert module_of(net) is net


def test_a_module_that_rounds_gets_modes_and_keeps_its_ranges() -> None:
    pytest.importorskip("torchao")
    from torchao.quantization.pt2e import move_exported_model_to_eval

    program = torch.export.export(rounding(), (torch.zeros(2),), strict=False)
    module = with_ranges("net", move_exported_model_to_eval(program.module()))
    module.eval()  # PyTorch refuses that of a program's own module
    assert module(torch.tensor([0.7, 100.0])).tolist() == [0.5, 63.5]


def test_a_module_without_ranges_stays_as_it_is() -> None:
    for net in (nn.ReLU(), torch.fx.symbolic_trace(nn.Sequential(nn.ReLU()))):
        assert with_ranges("net", net) is net


def test_an_observer_that_has_seen_nothing_has_no_range() -> None:
    observer = pytest.importorskip("torchao.quantization.pt2e").MinMaxObserver
    root = nn.Module()
    root.watch = observer()
    graph = Graph()
    graph.output(graph.call_module("watch", (graph.placeholder("x"),)))
    module = GraphModule(root, graph)
    assert has_ranges(module)
    with pytest.raises(BadInputError, match="have not seen an image"):
        with_ranges("net", module)


def test_integers_are_weights_that_are_no_parameters() -> None:
    net = nn.Linear(2, 3)
    assert stored_values(net) == 0
    net.register_buffer("stored", torch.zeros(4, 5, dtype=torch.int8))
    net.register_buffer("count", torch.zeros(1, dtype=torch.int64))
    assert stored_values(net) == 20


def test_there_is_no_float_model_to_learn_from() -> None:
    with pytest.raises(UsageError, match="no float model to learn from"):
        _check_floating(SimpleNamespace(name="net", module=rounding()))  # type: ignore[arg-type]
    _check_floating(SimpleNamespace(name="net", module=nn.ReLU()))  # type: ignore[arg-type]

"""Write operators of a traced program in other forms before a converter sees it, and prove each on real values.

A form is a plain function on tensors with the signature of the operator that it stands for. It returns
``NotImplemented`` where the operator can stay as it is, and None in place of an output that it does not compute. Which
operators a target needs forms for stands in the target's own files; the forms themselves know no target.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import torch
from torch import Tensor
from torch._guards import detect_fake_mode
from torch._ops import OpOverload
from torch.fx import GraphModule, Interpreter, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.node import map_arg
from torch.utils import _pytree as pytree

from mobilevit_tools.double import InDouble
from mobilevit_tools.errors import MvtError

if TYPE_CHECKING:
    from torch.export import ExportedProgram

Form: TypeAlias = Callable[..., Any]
Forms: TypeAlias = Mapping[Any, Form]
"""Forms by the operator that they stand for, such as ``torch.ops.aten.gelu.default``."""

PROOF_TOLERANCE = 1e-9
"""Largest difference that float64 may show, relative to the largest output; rounding alone leaves some 1e-14."""
VIEWS = frozenset({torch.ops.aten.view.default, torch.ops.aten._unsafe_view.default})
_RESHAPE = torch.ops.aten.reshape.default
_ASSERTIONS = frozenset(
    {
        torch.ops.aten._assert_async.default,
        torch.ops.aten._assert_async.msg,
        torch.ops.aten._assert_scalar.default,
        torch.ops.aten._assert_tensor_metadata.default,
    }
)
_COMPOSED = torch._C.DispatchKey.CompositeImplicitAutograd
_COMPOSED_AND_FRESH = frozenset(
    {
        torch.ops.aten.batch_norm.default,
        torch.ops.aten.conv1d.default,
        torch.ops.aten.conv2d.default,
        torch.ops.aten.conv2d.padding,
        torch.ops.aten.linear.default,
    }
)
_ORIGIN: tuple[Any, ...] = ("stack_trace", "nn_module_stack")


def write_forms(program: ExportedProgram, forms: Forms, inputs: Sequence[Tensor]) -> Counter[str]:
    """Write the operators of ``program`` that have a form in that form, in place.

    Each form is run in float64 beside its operator, on the values that reach it when the program runs on ``inputs``.
    A form is not written in further forms. Assertions, which converters have no operators for, are left out. Views
    become reshapes: a form's result may lie otherwise in memory than the trace foresaw, and only a copy of it have the
    new shape.

    Args:
        program: A traced program; functional, or with changes in place that no form has to do with.
        forms: A form for each operator that the target needs one for.
        inputs: What the program takes.

    Returns:
        How many operators of each kind were written anew, by name.

    Raises:
        MvtError: A form does not compute what its operator computes.
    """
    _drop_assertions(program)
    written: dict[str, GraphModule] = {}
    nodes = {node.name: node for node in program.graph.nodes if node.op == "call_function"}
    for name, node in nodes.items():
        form = forms.get(node.target)
        if form is not None and (traced := _trace(node, form)) is not None:
            written[name] = traced
    for node in nodes.values():
        if node.target in VIEWS:
            node.target = _RESHAPE
    if not written:
        return Counter()
    with torch.no_grad():
        _Proof(program.module(check_guards=False), written).run(*inputs)
    for name, traced in written.items():
        _splice(program, nodes[name], traced)
    program.graph.eliminate_dead_code()
    program.graph_module.recompile()
    return Counter(str(nodes[name].target) for name in written)


def first_of(*forms: Form) -> Form:
    """Return a form that is the first of ``forms`` that there is."""

    def form(*args: Any, **kwargs: Any) -> Any:
        found = (each(*args, **kwargs) for each in forms)
        return next((each for each in found if each is not NotImplemented), NotImplemented)

    return form


def insert(program: ExportedProgram, place: Node, function: Callable[..., Tensor], reading: Sequence[Node]) -> Node:
    """Put the operators of ``function``, applied to what some nodes compute, in front of ``place``.

    Returns:
        The node of its result.
    """
    fakes = [_value(each) for each in reading]
    mode = detect_fake_mode(fakes)
    if mode is None:
        raise ValueError("The nodes hold no tensors.")
    with mode, torch.no_grad():
        traced = make_fx(function, pre_dispatch=True)(*fakes)
    result = _copy(program, place, traced, reading)
    return cast("Node", result)


def replace(program: ExportedProgram, old: Node, new: Node) -> None:
    """Let all that read ``old``, the program's outputs included, read ``new``."""
    program.graph_signature.replace_all_uses(old.name, new.name)
    old.replace_all_uses_with(new)


def functional(program: ExportedProgram, forms: Forms) -> ExportedProgram:
    """Return ``program`` with no change in place of a kind that has a form, such as ``x %= 3`` beside ``x % 3``.

    Changes of values that nobody else reads, as activations in place are, become operators that change nothing; where
    others are left of a kind that has a form, the program is traced anew.
    """
    for node in program.graph.nodes:
        if mutates(node) and (same := _without_change(node)) is not None:
            node.target = same
    program.graph_module.recompile()
    names = {str(target) for target in forms}
    in_place = any(str(node.target).replace("_.", ".", 1) in names for node in program.graph.nodes if mutates(node))
    return program.run_decompositions({}) if in_place else program


def _without_change(node: Node) -> OpOverload | None:
    """Return the operator with the result of one that changes its first argument, if nothing else sees the change."""
    target, changed = node.target, node.args[0]
    if not isinstance(target, OpOverload) or not isinstance(changed, Node):
        return None
    name = target._schema.name.removeprefix("aten::").removesuffix("_")
    same = getattr(getattr(torch.ops.aten, name, None), target._overloadname, None)
    types = {value.dtype for each in node.all_input_nodes if isinstance(value := each.meta.get("val"), Tensor)}
    alone = set(changed.users) == {node} and _is_fresh(changed)
    return same if alone and len(types) == 1 and same is not target else None


def _is_fresh(node: Node) -> bool:
    """Tell whether an operator's result shares no memory with anything else."""
    operator = node.target
    if not isinstance(operator, OpOverload) or any(each.alias_info is not None for each in operator._schema.returns):
        return False
    # What is composed of others may return its argument, as dropout does, whatever its schema says.
    return operator in _COMPOSED_AND_FRESH or not operator.has_kernel_for_dispatch_key(_COMPOSED)


def mutates(node: Node) -> bool:
    """Tell whether an operator changes a tensor in place."""
    return isinstance(node.target, OpOverload) and node.target._schema.is_mutable


def prove_same(before: ExportedProgram, after: ExportedProgram, inputs: Sequence[Tensor]) -> None:
    """Compare two programs in float64.

    Raises:
        MvtError: They do not compute the same.
    """
    check_results(after, inputs, results_in_double(before, inputs))


def results_in_double(program: ExportedProgram, inputs: Sequence[Tensor]) -> list[Any]:
    """Return what a program computes of ``inputs`` in float64, as a flat list."""
    with torch.no_grad(), InDouble():
        return pytree.tree_leaves(_Double(program.module(check_guards=False)).run(*map(_widened, inputs)))


def check_results(program: ExportedProgram, inputs: Sequence[Tensor], expected: Sequence[Any]) -> None:
    """Compare what a program computes of ``inputs`` in float64 with results of :func:`results_in_double`.

    Raises:
        MvtError: It does not compute them.
    """
    for place, (left, right) in enumerate(zip(expected, results_in_double(program, inputs), strict=True), 1):
        _check(f"output {place} of the program", left, right)


def _drop_assertions(program: ExportedProgram) -> None:
    """Remove what checks values while the program runs, and what is computed for that alone."""
    found = [node for node in program.graph.nodes if node.target in _ASSERTIONS]
    for node in found:
        program.graph.erase_node(node)
    if found:
        program.graph.eliminate_dead_code()
        program.graph_module.recompile()


def _value(node: Node) -> Any:
    return node.meta["val"]


def _trace(node: Node, form: Form) -> GraphModule | None:
    """Trace ``form`` on what ``node`` reads; None where the operator stays, or an output that is read is not made."""
    tensors = [each for each in node.all_input_nodes if isinstance(_value(each), Tensor)]

    def call(*values: Tensor) -> Any:
        known = dict(zip(tensors, values, strict=True))
        args: Any
        kwargs: Any
        args, kwargs = map_arg(
            (node.args, node.kwargs),
            lambda each: known[each] if each in known else _value(each),
        )
        return form(*args, **kwargs)

    fakes = [_value(each) for each in tensors]
    mode = detect_fake_mode(fakes)
    if mode is None:  # a constant, which reads nothing
        return None
    with mode, torch.no_grad():
        result = call(*fakes)
        if result is NotImplemented:
            return None
        if isinstance(result, tuple) and any(result[index] is None for user, index in _outputs(node) if user.users):
            return None
        return make_fx(call, pre_dispatch=True)(*fakes)


def _outputs(node: Node) -> list[tuple[Node, int]]:
    """Return what picks the outputs of an operator that has several, and which."""
    return [(user, cast("int", user.args[1])) for user in node.users]


def _splice(program: ExportedProgram, node: Node, traced: GraphModule) -> None:
    """Put the operators of ``traced`` in the place of ``node``."""
    graph = program.graph
    tensors = [each for each in node.all_input_nodes if isinstance(_value(each), Tensor)]
    result = _copy(program, node, traced, tensors)
    readers: dict[Node, Any] = {node: result}
    if isinstance(result, list | tuple):
        readers = {user: result[index] for user, index in _outputs(node)}
    for old, new in readers.items():
        if new is not None:  # an output that nobody reads need not be made
            replace(program, old, new)
        if old is not node:
            graph.erase_node(old)
    graph.erase_node(node)


def _copy(program: ExportedProgram, place: Node, traced: GraphModule, reading: Sequence[Node]) -> Any:
    """Copy the operators of ``traced`` in front of ``place``; return what stands for its result."""
    tensors = iter(reading)
    copies: dict[Node, Node] = {}
    result: Any = None
    with program.graph.inserting_before(place):
        for each in traced.graph.nodes:
            if each.op == "placeholder":
                copies[each] = next(tensors)
            elif each.op == "output":
                result = map_arg(each.args[0], copies.__getitem__)
            else:
                copies[each] = program.graph.node_copy(each, copies.__getitem__)
                copies[each].meta = each.meta | {key: place.meta[key] for key in _ORIGIN if key in place.meta}
    return result


class Running(Interpreter):
    """Runs a program whatever its tensors' layout.

    A trace foresees the strides of each result, and writes what may be a view by them as one. Kernels may give others
    (a convolution of one image is not always in channels_last), of which only a copy has the new shape.
    """

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Run an operator."""
        return super().call_function(_RESHAPE if target in VIEWS else target, args, kwargs)


class _Double(Running):
    """Runs a program with its weights and constants in float64."""

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
        return _widened(super().get_attr(target, args, kwargs))


class _Proof(Running):
    """Runs a program and, in float64, each form beside the operator that it stands for."""

    def __init__(self, module: torch.nn.Module, written: Mapping[str, GraphModule]) -> None:
        super().__init__(module)
        self.written = written

    def run_node(self, n: Node) -> Any:
        result = super().run_node(n)
        if (form := self.written.get(n.name)) is not None:
            args, kwargs = self.fetch_args_kwargs_from_env(n)
            tensors = [_widened(self.env[each]) for each in n.all_input_nodes if isinstance(self.env[each], Tensor)]
            with InDouble():
                target: Any = n.target
                expected = target(*pytree.tree_map(_widened, args), **pytree.tree_map(_widened, kwargs))
                got = form(*tensors)
            _check(str(n.target), expected, got)
        return result


def _widened(value: Any) -> Any:
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value


def _check(name: str, expected: Any, got: Any) -> None:
    lefts, rights = ([*each] if isinstance(each, list | tuple) else [each] for each in (expected, got))
    for left, right in zip(lefts, rights, strict=True):
        if right is None:
            continue
        if left.shape != right.shape:
            raise MvtError(f"The replacement of {name} has a different shape than the operator.")
        if left.numel() == 0:
            continue
        scale = left.double().abs().max().clamp_min(torch.finfo(torch.float64).tiny)
        difference = float((left.double() - right.double()).abs().max() / scale)
        if not difference <= PROOF_TOLERANCE:
            raise MvtError(
                f"The replacement of {name} differs from the operator by {difference:.2g} of its largest output.",
                hint="Please report this model.",
            )

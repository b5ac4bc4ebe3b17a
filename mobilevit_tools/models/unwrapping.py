"""From what people's functions return to the plain float32 module inside: wrappers of training come off."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import MethodType

import torch
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter
from torch.optim.swa_utils import AveragedModel
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from mobilevit_tools.errors import BadInputError
from mobilevit_tools.models.own_ranges import with_ranges

_UNINITIALIZED = (UninitializedBuffer, UninitializedParameter)
_WRAPPERS = (DataParallel, DistributedDataParallel, AveragedModel)
_QUANTIZED = ("torch.ao.", "torchao.", "bitsandbytes.")


def plain_module(name: str, module: nn.Module) -> nn.Module:
    """Return the module without what compiled, parallelised or averaged it or a part of it, in float32 on the CPU.

    Weights in half or double precision become float32 ones, which hold the values of the former. What was quantized in
    training keeps its ranges, see :mod:`mobilevit_tools.models.own_ranges`.

    Args:
        name: The model's name, for errors.
        module: What a function returned; it is changed.

    Raises:
        BadInputError: It is of a kind that cannot be exported: TorchScript, quantized, sharded, or without values.
    """
    module = with_ranges(name, unwrapped(module))
    for parent in list(module.modules()):
        for key, child in parent._modules.items():
            if child is not None:
                parent._modules[key] = with_ranges(name, unwrapped(child))
    for path, child in module.named_modules():
        where = f"{name} ({path})" if path else name
        _refuse_foreign(where, child)
        _uncompile(child)
    return module.to("cpu").float()


def is_lazy(module: nn.Module) -> bool:
    """Tell whether a layer still waits for its first input to know its size."""
    return any(isinstance(tensor, _UNINITIALIZED) for tensor in _tensors(module))


def unwrapped(module: nn.Module) -> nn.Module:
    """Return the module that was compiled, parallelised or averaged, whole; any other as it is."""
    dynamo = sys.modules.get("torch._dynamo.eval_frame")  # not imported, nothing was compiled
    while True:
        if dynamo is not None and isinstance(module, dynamo.OptimizedModule):
            module = module._orig_mod
        elif isinstance(module, _WRAPPERS):
            module = module.module
        else:
            return module


def _uncompile(module: nn.Module) -> None:
    """Undo ``module.compile()``, and take a compiled ``forward`` for the function that it was made of."""
    module._compiled_call_impl = None
    function = getattr(module.forward, "_torchdynamo_orig_callable", None)
    if function is not None:
        module.forward = MethodType(getattr(function, "__func__", function), module)


def _tensors(module: nn.Module) -> Iterator[torch.Tensor]:
    for child in module.modules():
        yield from (tensor for tensor in child._parameters.values() if tensor is not None)
        yield from (tensor for tensor in child._buffers.values() if tensor is not None)


def _refuse_foreign(where: str, module: nn.Module) -> None:
    if isinstance(module, torch.jit.ScriptModule):
        raise _refusal(
            f"{where} is a TorchScript module, which torch.export does not support.",
            "Return the torch.nn.Module that it was scripted or traced from, and give its weights with --checkpoint.",
        )
    own = [tensor for tensor in (*module._parameters.values(), *module._buffers.values()) if tensor is not None]
    quantizing = [type(each).__module__ for each in (module, *own) if type(each).__module__.startswith(_QUANTIZED)]
    if quantizing or any(tensor.is_quantized for tensor in own):
        raise _refusal(
            f"{where} is already quantized, by {(quantizing or ['torch'])[0].partition('.')[0]}.",
            "Return the model in floating point, as it was before it was quantized, and let --precision quantize it.",
        )
    wrapping = [type(tensor).__name__ for tensor in own if _wraps_others(tensor)]
    if wrapping:
        raise _refusal(
            f"{where} stores its weights as {wrapping[0]}, not as plain tensors.",
            "Return a model of plain tensors: one that is neither sharded nor quantized.",
        )
    if any(tensor.is_meta for tensor in own if not isinstance(tensor, _UNINITIALIZED)):
        raise _refusal(
            f"{where} is on the meta device: its weights have no values.",
            "Build the model on the CPU, outside of `with torch.device('meta')`.",
        )


def _wraps_others(tensor: object) -> bool:
    return is_traceable_wrapper_subclass(tensor)


def _refusal(message: str, hint: str) -> BadInputError:
    return BadInputError(message, hint=hint, code="own_model")

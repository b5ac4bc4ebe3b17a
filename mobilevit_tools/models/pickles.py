"""Which globals a checkpoint's pickle asks for, found without running it, and the few that it may have.

Tensors need a handful of torch's own functions. What else training scripts leave in a checkpoint (arguments, paths,
scalars) is of no use here: those types are allowed one by one, by name, and inert stand-ins take their place, so that
no code of theirs runs either.
"""

from __future__ import annotations

import pickletools
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import IO, Self

_STORAGES = ("BFloat16", "Bool", "Byte", "Char", "Double", "Float", "Half", "Int", "Long", "Short")
_DTYPES = ("bfloat16", "bool", "float16", "float32", "float64", "int16", "int32", "int64", "int8", "uint8")

TENSOR_GLOBALS = frozenset(
    {
        "_codecs.encode",
        "builtins.complex",
        "builtins.set",
        "collections.Counter",
        "collections.OrderedDict",
        "torch.Size",
        "torch._tensor._rebuild_from_type_v2",
        "torch._utils._rebuild_parameter",
        "torch._utils._rebuild_parameter_with_state",
        "torch._utils._rebuild_tensor",
        "torch._utils._rebuild_tensor_v2",
        "torch.device",
        "torch.nn.parameter.Parameter",
        "torch.storage.UntypedStorage",
        *(f"torch.{name}Storage" for name in _STORAGES),
        *(f"torch.{name}" for name in _DTYPES),
    }
)


class Ignored:
    """Stands in for an object of a training script; takes any arguments and any state and keeps none."""

    def __new__(cls, *_args: object) -> Self:
        """Return an empty placeholder."""
        return super().__new__(cls)

    def __setstate__(self, _state: object) -> None:
        """Drop the state."""


def ignored_dict(*_args: object) -> OrderedDict[object, object]:
    """Stand in for a dictionary that is built from arguments; drop them."""
    return OrderedDict()


HARMLESS_GLOBALS: Mapping[str, Callable[..., object]] = MappingProxyType(
    {
        "argparse.Namespace": Ignored,
        "builtins.dict": Ignored,  # the builtins serve as defaultdict factories and type annotations
        "builtins.float": Ignored,
        "builtins.int": Ignored,
        "builtins.list": Ignored,
        "collections.defaultdict": ignored_dict,
        "datetime.date": Ignored,
        "datetime.datetime": Ignored,
        "datetime.timedelta": Ignored,
        "easydict.EasyDict": OrderedDict,
        "mmengine.logging.history_buffer.HistoryBuffer": Ignored,
        "numpy._core.multiarray._reconstruct": Ignored,
        "numpy._core.multiarray.scalar": Ignored,
        "numpy.core.multiarray._reconstruct": Ignored,
        "numpy.core.multiarray.scalar": Ignored,
        "numpy.dtype": Ignored,
        "numpy.ndarray": Ignored,
        "omegaconf.base.ContainerMetadata": Ignored,
        "omegaconf.base.Metadata": Ignored,
        "omegaconf.dictconfig.DictConfig": Ignored,
        "omegaconf.listconfig.ListConfig": Ignored,
        "omegaconf.nodes.AnyNode": Ignored,
        "pathlib.PosixPath": Ignored,
        "pathlib.PurePosixPath": Ignored,
        "pathlib.PureWindowsPath": Ignored,
        "pathlib.WindowsPath": Ignored,
        "pathlib._local.PosixPath": Ignored,  # Python 3.13 writes these two
        "pathlib._local.WindowsPath": Ignored,
        "torch.torch_version.TorchVersion": Ignored,
        "types.SimpleNamespace": Ignored,
        "typing.Any": Ignored,
        "yacs.config.CfgNode": OrderedDict,
    }
)


def wanted_globals(stream: IO[bytes]) -> Iterator[str]:
    """Yield every global, as ``module.name``, that the pickle at the stream's position would import; import none.

    The stream is left behind the pickle's end.

    Raises:
        ValueError: The bytes are no pickle, or one that is cut short.
    """
    strings = ("", "")
    top: object = None  # what the last opcode pushed, where that is a string
    memo: dict[int, object] = {}
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name in ("MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"):
            memo[argument if isinstance(argument, int) else len(memo)] = top
            continue
        if opcode.name in ("GET", "BINGET", "LONG_BINGET"):
            argument = memo.get(argument) if isinstance(argument, int) else None  # noqa: PLW2901
        if opcode.name in ("GLOBAL", "INST"):
            module, _, name = str(argument).partition(" ")
            yield ".".join(NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name)))
        elif opcode.name == "STACK_GLOBAL":
            yield ".".join(strings)
        elif isinstance(argument, str):
            strings = (strings[-1], argument)
        top = argument if isinstance(argument, str) and opcode.name not in ("GLOBAL", "INST") else None


def protocol(head: bytes) -> int:
    """Return the pickle protocol that a pickle's first two bytes declare; the first two protocols declare none."""
    return head[1] if head[:1] == b"\x80" and len(head) > 1 else 0


def refused_globals(wanted: Iterable[str]) -> list[str]:
    """Return those of the wanted globals that a checkpoint may not have, each once, in order."""
    return [name for name in dict.fromkeys(wanted) if name not in TENSOR_GLOBALS and name not in HARMLESS_GLOBALS]

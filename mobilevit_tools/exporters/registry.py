"""Every export target, as data only: importing this module imports no converter.

A target is one file here, one file in ``runtimes/`` and one entry in each registry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType

from mobilevit_tools.errors import UsageError
from mobilevit_tools.quantization.precisions import FLOATING

ALL = "all"


@dataclass(frozen=True)
class Target:
    """What a target offers.

    Attributes:
        name: The name that ``--target`` takes.
        module: Dotted path of a module with ``lower(module, spec, contract, path) -> Lowering``.
        packages: The importable packages that it needs.
        suffix: The artifact's suffix.
        precisions: The precisions that it has.
        options: What it takes and not every target does: names of fields of
            :class:`~mobilevit_tools.exporters._base.ExportSpec`.
        backends: The backends that it has, the default one first; empty where there is no choice.
        quantizing_backends: The backends that have precisions other than fp32 and fp16, where not all do.
    """

    name: str
    module: str
    packages: tuple[str, ...]
    suffix: str
    precisions: tuple[str, ...]
    options: tuple[str, ...]
    backends: tuple[str, ...] = ()
    quantizing_backends: tuple[str, ...] = ()

    def precisions_of(self, backend: str | None) -> tuple[str, ...]:
        """Return the precisions that a backend has."""
        if backend is None or not self.quantizing_backends or backend in self.quantizing_backends:
            return self.precisions
        return FLOATING


TARGETS: Mapping[str, Target] = MappingProxyType(
    {
        target.name: target
        for target in (
            Target(
                "onnx",
                "mobilevit_tools.exporters.onnx",
                ("onnx", "onnxscript"),
                ".onnx",
                (*FLOATING, "int8", "int8-weight", "dynamic-int8"),
                ("dynamic_batch", "opset"),
            ),
            Target(
                "coreml",
                "mobilevit_tools.exporters.coreml",
                ("coremltools",),
                ".mlpackage",
                (*FLOATING, "int8", "int8-weight", "int4-weight", "palette8", "palette6", "palette4"),
                ("tensor_io", "deployment_target"),
            ),
            Target(
                "executorch",
                "mobilevit_tools.exporters.executorch",
                ("executorch",),
                ".pte",
                (*FLOATING, "int8", "dynamic-int8"),
                ("backend",),
                ("xnnpack", "portable", "coreml", "vulkan"),
                quantizing_backends=("xnnpack",),
            ),
        )
    }
)


def find_target(name: str) -> Target:
    """Return the target of that name.

    Raises:
        UsageError: No such target; the hint names the nearest ones.
    """
    target = TARGETS.get(name)
    if target is None:
        nearest = get_close_matches(name, TARGETS, n=2, cutoff=0.4)
        raise UsageError(
            f"There is no target named {name!r}.",
            hint=f"Did you mean {' or '.join(nearest)}?" if nearest else f"Targets: {', '.join(TARGETS)}, all.",
            code="unknown_target",
        )
    return target


def named_targets(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the targets that are asked for, each once; those of every target where one is ``all``.

    Raises:
        UsageError: There is no such target, also beside ``all``.
    """
    for name in names:
        if name != ALL:
            find_target(name)
    return tuple(TARGETS) if ALL in names else tuple(dict.fromkeys(names))

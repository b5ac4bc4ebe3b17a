"""PyTorch's own operator database through each exporter, against PyTorch in float64.

A case is one sample input of one operator. A small module holds the sample's tensors, scales them by an image of small
numbers, so that nothing is constant, and computes the operator; each target's exporter writes it, and its runtime runs
it. The suite runs in a process of its own: one that dies counts as a crash of the case that it was at.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

TARGETS = ("onnx", "coreml", "executorch")
MAX_ELEMENTS = 3 * 48 * 48
TOLERANCE = 1e-4
"""Of the reference's largest value: the gate of a float32 artifact."""

OPERATORS = tuple(Path(__file__).with_name("vision_operators.txt").read_text(encoding="utf-8").split())
"""Names in torch's database of what vision models are made of."""


@dataclass(frozen=True)
class Case:
    """What became of one sample input of an operator on one target.

    Attributes:
        operator: The operator's name in torch's database, with its variant.
        target: The target.
        verdict: ``passed``, ``refused``, ``wrong``, ``not verified`` or ``crash``.
        why: The sentence behind it.
    """

    operator: str
    target: str
    verdict: str
    why: str


def run(samples: int, operators: Sequence[str] = OPERATORS, targets: Sequence[str] = TARGETS) -> list[Case]:
    """Run every case in processes of their own.

    Args:
        samples: Sample inputs of each operator.
        operators: Which operators.
        targets: Which targets.
    """
    cases: list[Case] = []
    todo = list(operators)
    with tempfile.TemporaryDirectory() as folder:
        while todo:
            command = [sys.executable, "-m", "tools.conformance.operators", folder, str(samples), ",".join(targets)]
            worker = subprocess.run([*command, *todo], capture_output=True, text=True, check=False, errors="replace")
            started = ""
            for line in worker.stdout.splitlines():
                if line.startswith("start "):
                    started = line.removeprefix("start ")
                elif line.startswith("{"):
                    cases.append(Case(**json.loads(line)))
                    started = ""
            if worker.returncode == 0:
                break
            operator, _, target = started.partition(" ")
            if not operator:
                raise RuntimeError(f"the suite ended before its first case: {worker.stderr[-1000:]}")
            cases.append(Case(operator, target, "crash", f"the process ended with {worker.returncode}"))
            todo = todo[todo.index(operator) + 1 :]
    return cases


def main(arguments: Sequence[str]) -> None:
    """Run cases here and print each as a line of JSON."""
    import torch
    from torch.testing._internal.common_methods_invocations import op_db

    folder, samples, targets, *operators = arguments
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    known = {name: [entry for entry in op_db if entry.name == name] for name in operators}
    for name in operators:
        for module, shape in _modules(known[name][:1], int(samples)):
            for target in targets.split(","):
                _say(f"start {name} {target}")
                verdict, why = _case(module, shape, target, Path(folder))
                _say(json.dumps(asdict(Case(name, target, verdict, why))))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _modules(entries: Sequence[Any], samples: int) -> Iterator[tuple[torch.nn.Module, tuple[int, int]]]:
    """Modules of the first fitting sample inputs, spread over all of them, and the height and width of their image."""
    import torch

    for entry in entries:
        fitting = []
        for sample in entry.sample_inputs("cpu", torch.float32, requires_grad=False):
            value = sample.input
            if not isinstance(value, torch.Tensor):
                value = next((each for each in _tensors(value)), None)
            if value is None or not 0 < value.numel() <= MAX_ELEMENTS or not value.dtype.is_floating_point:
                continue
            module = _module(entry, sample)
            if _usable(module, value.numel()):
                fitting.append((module, value.numel()))
        step = max(len(fitting) // samples, 1)
        for module, count in fitting[::step][:samples]:
            side = math.ceil(math.sqrt(count / 3))
            yield module, (side, side)


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    import torch

    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _tensors(each)


def _module(entry: Any, sample: Any) -> torch.nn.Module:
    import torch

    class Sample(torch.nn.Module):
        """One operator on one sample; its tensors are buffers, the first of them scaled by the image."""

        def __init__(self) -> None:
            super().__init__()
            self.count = 0
            self.given = self._kept((sample.input, *sample.args))
            self.named = {key: self._kept(value) for key, value in sample.kwargs.items()}

        def _kept(self, value: Any) -> Any:
            if isinstance(value, torch.Tensor):
                self.register_buffer(f"tensor{self.count}", value.detach().clone())
                self.count += 1
                return ("buffer", f"tensor{self.count - 1}")
            if isinstance(value, list | tuple) and any(True for _ in _tensors(value)):
                return ("list", [self._kept(each) for each in value])
            return ("plain", value)

        def _read(self, kept: tuple[str, Any], scale: torch.Tensor) -> Any:
            kind, value = kept
            if kind == "list":
                return [self._read(each, scale) for each in value]
            if kind == "plain":
                return value
            tensor = getattr(self, value)
            return tensor * scale.reshape(tensor.shape) if value == "tensor0" else tensor

        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor]:
            first = self.tensor0
            scale = 1 + 0.01 * image.flatten()[: first.numel()]
            given = (
                [self._read(each, scale) for each in self.given[1]]
                if self.given[0] == "list"
                else [self._read(self.given, scale)]
            )
            named = {key: self._read(value, scale) for key, value in self.named.items()}
            result = entry.op(*given, **named)
            return (next(_tensors(result)),)

    return Sample().eval()


def _usable(module: torch.nn.Module, count: int) -> bool:
    """Whether a sample can be a case: real numbers out of it, of a rank that networks have."""
    import torch

    side = math.ceil(math.sqrt(count / 3))
    try:
        with torch.no_grad():
            (out,) = module(torch.zeros(1, 3, side, side))
    except (RuntimeError, TypeError, ValueError, IndexError):
        return False
    return out.numel() > 0 and out.ndim <= 5 and not out.dtype.is_complex


def _case(module: torch.nn.Module, size: tuple[int, int], target: str, folder: Path) -> tuple[str, str]:
    import torch

    from mobilevit_tools.data.contract import Contract
    from mobilevit_tools.data.preprocessing import Preprocessing
    from mobilevit_tools.errors import MvtError, first_line
    from mobilevit_tools.exporters._base import ExportSpec, load_exporter
    from mobilevit_tools.exporters.refusals import naming_refusals
    from mobilevit_tools.runtimes._base import UnsupportedOperatorError
    from mobilevit_tools.runtimes.registry import open_session
    from mobilevit_tools.targets.registry import find_target

    image = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    path = folder / f"case{find_target(target).suffixes[0]}"
    spec = ExportSpec(target, precision="fp32")
    contract = Contract("operator", Preprocessing(size), output="features")
    try:
        with naming_refusals(contract, spec, module):
            load_exporter(target).lower(module, spec, contract, path)
        with open_session(path) as session:
            found = session.run(image.numpy())[0]
    except UnsupportedOperatorError as error:
        return "not verified", error.message
    except MvtError as error:
        return "refused", error.message
    except Exception as error:
        return "refused", first_line(error)
    with torch.no_grad():
        near = module(image)[0].double().numpy()
        exact = module.double()(image.double())[0].double().numpy()
        module.float()
    return _compared(found, exact, near)


def _compared(found: NDArray[Any], exact: NDArray[Any], near: NDArray[Any]) -> tuple[str, str]:
    if found.shape != exact.shape and found.size == exact.size == 1:
        found = found.reshape(exact.shape)
    if found.shape != exact.shape:
        return "wrong", f"shape {found.shape} in place of {exact.shape}"
    finite = np.isfinite(exact) & np.isfinite(near)
    if not finite.any():
        return "passed", ""
    largest = max(float(np.abs(exact[finite]).max()), 1e-6)
    own = float(np.abs(near[finite] - exact[finite]).max()) / largest
    off = float(np.abs(np.asarray(found, np.float64)[finite] - exact[finite]).max()) / largest
    if off <= max(TOLERANCE, 4 * own):
        return "passed", ""
    return "wrong", f"off by {off:.1e} of the largest value"


if __name__ == "__main__":
    main(sys.argv[1:])

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mobilevit_tools.devices import RunRequest, runner, toolchain
from mobilevit_tools.devices._base import Settling

SIZE = 32


@dataclass(frozen=True)
class Artifacts:
    """One small network in three files, three inputs, and what PyTorch computes for them."""

    fp32: Path
    int8: Path
    onnx: Path
    inputs: NDArray[Any]
    reference: NDArray[Any]


class _Network(torch.nn.Module):
    """Convolution, activation, matrix products with softmax, pooling, linear: what the real models consist of."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = torch.nn.Sequential(
            torch.nn.Conv2d(3, 16, 3, stride=2, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(16, 16, 3, groups=16)
        )
        self.project = torch.nn.Conv2d(16, 16, 1)
        self.head = torch.nn.Linear(16, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        features = self.stem(image)
        tokens = self.project(features).flatten(2)
        attended = torch.softmax(tokens, dim=-1) * tokens
        return self.head((features.flatten(2) + attended).mean(dim=-1))


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Artifacts:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from executorch.exir import to_edge_transform_and_lower
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    folder = tmp_path_factory.mktemp("artifacts")
    torch.manual_seed(0)
    network = _Network().eval()
    inputs = torch.randn(3, 3, SIZE, SIZE)
    example = (inputs[:1],)

    def lower(program: torch.export.ExportedProgram, path: Path) -> Path:
        lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch()
        path.write_bytes(lowered.buffer)
        return path

    exported = torch.export.export(network, example)
    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(exported.module(), quantizer)
    for image in inputs:
        prepared(image[None])
    int8 = torch.export.export(convert_pt2e(prepared), example)
    onnx = folder / "network.onnx"
    torch.onnx.export(network, example, dynamo=True, verbose=False).save(str(onnx), external_data=False)
    return Artifacts(
        fp32=lower(exported, folder / "network.pte"),
        int8=lower(int8, folder / "network-int8.pte"),
        onnx=onnx,
        inputs=inputs.numpy(),
        reference=network(inputs).detach().numpy(),
    )


@pytest.fixture
def empty_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH on which nothing is; programs can be put there."""
    folder = tmp_path / "empty-path"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def relative_error(outputs: NDArray[Any], reference: NDArray[Any]) -> float:
    return float(np.abs(outputs - reference).max() / np.abs(reference).max())


def check_warm_up(times_ms: Sequence[float], request: RunRequest) -> None:
    """Follow the protocol's warm-up along the times of one: it ended where it had to, and no earlier."""
    settling = request.settling
    assert settling is not None
    ends = range(request.warmup, len(times_ms) + 1, settling.window)
    assert not [end for end in ends if end < len(times_ms) and settling.is_steady(times_ms[:end])]
    assert len(times_ms) == request.warmup + settling.max_runs or settling.is_steady(times_ms)


SETTLINGS = (
    Settling(window=3, agreement=0.1, max_runs=40, max_seconds=60.0),
    Settling(window=2, agreement=1e9, max_runs=40, max_seconds=60.0),
    Settling(window=2, agreement=-1.0, max_runs=7, max_seconds=60.0),
)
"""When warm-ups of tests end: some time, at once, and never by themselves."""

CRASHES = "#include <cstdlib>\nint main() { std::abort(); }\n"
HANGS = "#include <unistd.h>\nint main() { for (;;) sleep(1000); }\n"
TALKS_NONSENSE = '#include <cstdio>\nint main() { std::puts("segmentation of images"); }\n'


@pytest.fixture
def faulty_runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Replace the runner that devices get by another program, for whatever architecture they ask."""
    real_build = runner.build

    def install(source: str) -> None:
        def build(target: str, arch: str) -> runner.Bundle:
            real = real_build(target, arch)
            folder = tmp_path / f"faulty-{arch}"
            folder.mkdir(exist_ok=True)
            for name, path in real.files.items():
                if name != runner.RUNNER and not (folder / name).exists():
                    (folder / name).symlink_to(path)
            code = tmp_path / "faulty.cpp"
            code.write_text(source)
            command = [str(toolchain.find_compiler(arch)), str(code), "-o", str(folder / runner.RUNNER)]
            subprocess.run(command, check=True)
            return runner.Bundle(folder, arch)

        monkeypatch.setattr(runner, "build", build)

    return install

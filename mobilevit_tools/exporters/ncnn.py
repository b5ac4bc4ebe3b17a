"""ncnn through pnnx: a folder with ncnn's two files, and the contract, the labels and the signature beside them."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pnnx
import torch
from torch import Tensor, nn

from mobilevit_tools.data.contract import INPUT_NAME, Contract
from mobilevit_tools.errors import BadInputError, UsageError
from mobilevit_tools.exporters._base import ExportSpec, Half, Lowering
from mobilevit_tools.exporters.io_names import example_input, output_names
from mobilevit_tools.exporters.ncnn_picks import pick_thirds
from mobilevit_tools.runtimes.ncnn import unknown_layers
from mobilevit_tools.runtimes.ncnn_files import (
    CONTRACT_FILE,
    LABELS_FILE,
    PARAM_FILE,
    SIGNATURE_FILE,
    WEIGHTS_FILE,
    Signature,
    read_layers,
    rename_blobs,
)

if TYPE_CHECKING:
    from mobilevit_tools.quantization._base import Quantization

_PATIENCE_SECONDS = 1200
_STEM = "model"


def trace(module: nn.Module, spec: ExportSpec, contract: Contract) -> None:
    """Return nothing: ncnn rounds by itself, and keeps nothing."""


def lower(
    module: nn.Module,
    spec: ExportSpec,
    contract: Contract,
    path: Path,
    quantization: Quantization | None = None,  # noqa: ARG001  # it has no quantized precision
    *,
    half: Half | None = None,  # noqa: ARG001  # ncnn rounds by itself, and keeps nothing
) -> Lowering:
    """Write ``module`` as a network that takes ``image`` and gives the model's outputs by name.

    Raises:
        UsageError: Something is asked for that ncnn does not have.
        BadInputError: pnnx does not convert all of the model.
    """
    _check(spec, contract)
    example = example_input(contract, spec.batch)
    names = output_names(module, contract, example)
    program = torch.export.export(module.eval(), (example,), strict=False)
    pick_thirds(program, (example,))
    traced = program.module(check_guards=False)
    with torch.no_grad():
        outputs = traced(example)
        scripted = torch.jit.trace(traced, example, check_trace=False)  # type: ignore[no-untyped-call]
    halved = spec.precision == "fp16"
    path.mkdir()
    with TemporaryDirectory(prefix="mvt-pnnx-") as folder:
        scripted.save(Path(folder, f"{_STEM}.pt"))
        converted = _convert(Path(folder), example, contract, spec, half=halved)
        blobs = {"in0": INPUT_NAME, **{f"out{place}": name for place, name in enumerate(names)}}
        (path / PARAM_FILE).write_text(rename_blobs(converted.read_text(encoding="utf-8"), blobs), encoding="utf-8")
        (path / WEIGHTS_FILE).write_bytes(converted.with_suffix(".bin").read_bytes())
    if missing := unknown_layers(read_layers(path)):
        raise BadInputError(
            f"{contract.model} cannot be converted to {spec.variant}: pnnx leaves {', '.join(missing)} as it is, and "
            "ncnn cannot load that.",
            hint="ncnn holds at most four dimensions beside the batch. Write what it names in another way, or take "
            "another target.",
            code="not_convertible",
        )
    shapes = [tuple(each.shape) for each in ([outputs] if isinstance(outputs, Tensor) else outputs)]
    _describe(
        path, contract, Signature({INPUT_NAME: tuple(example.shape)}, dict(zip(names, shapes, strict=True)), halved)
    )
    return Lowering()


def _check(spec: ExportSpec, contract: Contract) -> None:
    if contract.output == "class_map":
        raise UsageError("ncnn has no integers to give a class map in.", hint="Omit --class-map.")
    if spec.fp16_keep is not None:
        raise UsageError("ncnn keeps no operator in float32 of its own accord.", hint="Omit --fp16-keep.")


def _convert(folder: Path, example: Tensor, contract: Contract, spec: ExportSpec, *, half: bool) -> Path:
    """Run pnnx in a folder, where it leaves all its files, and return ncnn's network; its weights are beside it."""
    shape = ",".join(map(str, example.shape))
    command: Sequence[str] = (pnnx.EXEC_PATH, f"{_STEM}.pt", f"inputshape=[{shape}]f32", f"fp16={int(half)}")
    network = folder / f"{_STEM}.ncnn.param"
    try:
        ran = subprocess.run(command, cwd=folder, capture_output=True, timeout=_PATIENCE_SECONDS, check=False)
        failure = f"pnnx ends with {ran.returncode}" if ran.returncode != 0 or not network.is_file() else ""
    except subprocess.TimeoutExpired:
        failure = f"pnnx takes more than {_PATIENCE_SECONDS} s"
    if failure:
        raise BadInputError(
            f"{contract.model} cannot be converted to {spec.variant}: {failure}.", code="not_convertible"
        )
    return network


def _describe(path: Path, contract: Contract, signature: Signature) -> None:
    (path / CONTRACT_FILE).write_text(contract.to_json(), encoding="utf-8")
    (path / SIGNATURE_FILE).write_text(signature.to_json(), encoding="utf-8")
    if contract.labels is not None:
        (path / LABELS_FILE).write_text("".join(f"{label}\n" for label in contract.labels), encoding="utf-8")

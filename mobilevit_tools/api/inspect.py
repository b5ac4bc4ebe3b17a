"""Look into an artifact: its manifest, its digests, its operators, inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mobilevit_tools.api.given import given_artifact
from mobilevit_tools.api.graph import nodes_of, pieces_of
from mobilevit_tools.artifacts.manifest import Manifest
from mobilevit_tools.data.contract import Contract
from mobilevit_tools.devices.registry import DEVICES
from mobilevit_tools.errors import BadInputError, UsageError
from mobilevit_tools.exporters.delegation_lint import reason
from mobilevit_tools.process_state import restoring
from mobilevit_tools.quantization.share import QuantizedShare, share_of_strangers
from mobilevit_tools.reporting.figures import FORMATS, figure_file, styled
from mobilevit_tools.result import Result
from mobilevit_tools.runtimes._base import DELEGATE, OperatorUse, TensorInfo
from mobilevit_tools.runtimes.pieces import Piece
from mobilevit_tools.targets._base import Target, load
from mobilevit_tools.targets.registry import find_target
from mobilevit_tools.writing import check_file, write_whole

GRAPHS = (*FORMATS, "json")


@dataclass(frozen=True, repr=False)
class InspectResult(Result, command="inspect"):
    """What an artifact is.

    Attributes:
        artifact: The artifact.
        manifest: Its manifest; None where there is none.
        contract: The contract inside it; None for artifacts that others made.
        operators: How often each operator type occurs.
        operator_uses: The same with precisions and MACs, where they are known.
        quantized: How much of it is quantized; None where nothing is, or where neither a manifest nor the file tells.
        pieces: The calls into a backend and what runs between them, in order of execution; empty without a backend.
        outside: Why each operator that is outside the backend stays there; empty without a backend. Where neither a
            manifest nor a call tells of a backend, there is none.
        inputs: Its inputs.
        outputs: Its outputs.
        metadata: The format's own metadata, without the contract.
        notes: What people should know of it.
        graph: The drawing of its delegation that was written; None where none was asked for.
    """

    artifact: Path
    manifest: Manifest | None
    contract: Contract | None
    operators: Mapping[str, int]
    operator_uses: tuple[OperatorUse, ...]
    quantized: QuantizedShare | None
    pieces: tuple[Piece, ...]
    outside: Mapping[str, str]
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    metadata: Mapping[str, str]
    notes: tuple[str, ...]
    graph: Path | None = None


@restoring
def inspect(artifact: str | Path, *, graph: str | Path | None = None, overwrite: bool = False) -> InspectResult:
    """Read an artifact and check it against its manifest.

    Args:
        artifact: The artifact.
        graph: An ``.svg`` or ``.png`` file that receives a drawing of what its backend takes over, and what not, or a
            ``.json`` file for Model Explorer, which has the operators of an ONNX model.
        overwrite: Replace an existing drawing.

    Raises:
        BadInputError: It cannot be read, does not match the digest in its manifest, or has no backend to draw; or the
            drawing cannot be written.
        UsageError: The drawing exists already, or its suffix is that of another format.

    Example:
        >>> found = mvt.inspect(artifact)
        >>> found.operators["Conv"], found.contract.labels
        (1, ('cat', 'dog', 'horse'))
    """
    given = given_artifact(artifact, "inspect")
    drawing = None if graph is None else _destination(Path(graph), overwrite=overwrite)
    given.check()
    path, manifest = given.path, given.manifest
    with given.open() as session:
        pieces = pieces_of(session, manifest)
        if drawing is not None:
            _draw(pieces, path, drawing, given.target, manifest)
        return InspectResult(
            artifact=given.path,
            manifest=manifest,
            contract=session.contract,
            operators=session.operators(),
            operator_uses=session.operator_uses(),
            quantized=_quantized(path, given.target) if manifest is None else manifest.quantized,
            pieces=pieces,
            outside=_outside(session.operators(), manifest),
            inputs=session.inputs,
            outputs=session.outputs,
            metadata={name: text for name, text in session.metadata.items() if "contract" not in name},
            notes=(*session.notes, *_lint(path, given.target)),
            graph=drawing,
        )


def _destination(graph: Path, *, overwrite: bool) -> Path:
    if graph.suffix.removeprefix(".") not in GRAPHS:
        raise UsageError(f"{graph} has the suffix of no format that can be drawn.", hint=f"Use .{', .'.join(GRAPHS)}.")
    check_file(graph, overwrite=overwrite)
    return graph


def _draw(pieces: tuple[Piece, ...], artifact: Path, drawing: Path, target: Target, manifest: Manifest | None) -> None:
    from mobilevit_tools.reporting.delegation_graph import graph_plot
    from mobilevit_tools.reporting.model_explorer import graph_collection

    deployment = target.name if manifest is None else manifest.spec.deployment
    suffix = drawing.suffix.removeprefix(".")
    if suffix not in FORMATS:
        write_whole(drawing, graph_collection(nodes_of(artifact, target, pieces), artifact.name, deployment))
        return
    if not pieces:
        raise BadInputError(
            f"{artifact} has no delegation to draw: its runtime leaves nothing to a backend.",
            hint="Omit --graph."
            if target.graph_reader is None
            else "Name a .json file, which receives its operators for Model Explorer.",
            code="no_delegation",
        )
    with styled():
        write_whole(drawing, figure_file(graph_plot(pieces, deployment), suffix))


def _quantized(artifact: Path, target: Target) -> QuantizedShare | None:
    return None if target.layers is None else share_of_strangers(target.load(target.layers)(artifact))


def _lint(artifact: Path, target: Target) -> tuple[str, ...]:
    """Tell what is known to go wrong with an artifact on the devices that run its target, without any of them."""
    lints = [kind.lint for name, kind in DEVICES.items() if name in target.devices and kind.lint is not None]
    return tuple(note for lint in lints for note in load(lint)(artifact))


def _outside(operators: Mapping[str, int], manifest: Manifest | None) -> dict[str, str]:
    """Say of each operator of a program for a backend, which may have taken nothing, why it stays outside."""
    backends = {name.removeprefix(DELEGATE) for name in operators if name.startswith(DELEGATE)}
    if manifest is not None:
        backend = find_target(manifest.spec.target).backend(manifest.spec.backend)
        if backend is not None and backend.delegate is not None:
            backends = {backend.name}
    if not backends:
        return {}
    single = backends.pop() if len(backends) == 1 else None
    return {name: reason(name, single) for name in operators if not name.startswith(DELEGATE)}

"""Read what an artifact stores: in this process, or in one of its own that a damaged file may end."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobilevit_tools.comparison.stored import Stored, Weight
from mobilevit_tools.runtimes.child import PATIENCE_SECONDS, Child
from mobilevit_tools.targets.registry import find_target

if TYPE_CHECKING:
    from mobilevit_tools.runtimes.serving import Answer

SERVER = "mobilevit_tools.comparison.reading"


def read_stored(target: str, artifact: Path) -> Stored:
    """Read the weights of an artifact of ``target``.

    Raises:
        BadInputError: The artifact is damaged.
    """
    described = find_target(target)
    stored: Stored = described.load(described.weights)(artifact)
    return stored


def read_apart(target: str, artifact: Path, *, patience_s: float = PATIENCE_SECONDS, module: str = SERVER) -> Stored:
    """Read the weights of an artifact of ``target`` in a process of its own.

    Args:
        target: The target.
        artifact: The artifact.
        patience_s: How long it may take before the artifact counts as hung.
        module: The module that the process runs.

    Raises:
        BadInputError: The artifact is damaged, or ended or hung the process.
    """
    child = Child(artifact, module, patience_s=patience_s)
    try:
        found, _ = child.ask("weights", target=target, path=str(artifact.absolute()))
    finally:
        child.end()
    return tuple(Weight(**{**each, "shape": tuple(each["shape"])}) for each in found["weights"]), tuple(found["notes"])


def _weights(_arrays: list[Any], target: str, path: str) -> Answer:
    weights, notes = read_stored(target, Path(path))
    return {"weights": [asdict(each) for each in weights], "notes": list(notes)}, []


if __name__ == "__main__":
    from mobilevit_tools.runtimes.serving import main

    main({"weights": _weights})

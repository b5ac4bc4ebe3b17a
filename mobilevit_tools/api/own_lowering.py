"""What a target's own tools make of a model: the artifact that ours is measured against.

They run in a process of their own, because converters can end the process that they are in.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mobilevit_tools.child import explicit
from mobilevit_tools.devices.process import run
from mobilevit_tools.exporters._base import load_exporter
from mobilevit_tools.jsonable import jsonable

if TYPE_CHECKING:
    from mobilevit_tools.exporters.request import ExportRequest


def own_lowering(request: ExportRequest, folder: Path, *, timeout_s: float) -> Path | None:
    """Convert a model in float32 with the target's own tools and their defaults, without our rewrites and forms.

    Args:
        request: The model and the target; what else it asks for is left out.
        folder: Receives the artifact.
        timeout_s: Time limit.

    Returns:
        The artifact's path; None where the tools do not convert the model, or mvt does not know how to call them.
    """
    asked, path = folder / "request.json", folder / request.spec.file_name
    folder.mkdir(parents=True, exist_ok=True)
    asked.write_text(json.dumps(jsonable(request)), encoding="utf-8")
    command = [sys.executable, "-P", "-m", __name__, str(asked), str(path)]
    ended = run(command, timeout_s=timeout_s, env=explicit(os.environ))
    return path if ended.code == 0 and path.exists() else None


def main(asked: Path, path: Path) -> None:
    """Convert what the file asks for."""
    from pydantic import TypeAdapter

    from mobilevit_tools.api.description import contract_of
    from mobilevit_tools.api.requested import load_requested
    from mobilevit_tools.exporters.io_names import example_input
    from mobilevit_tools.exporters.request import ExportRequest

    request = TypeAdapter(ExportRequest).validate_json(asked.read_bytes())
    convert = getattr(load_exporter(request.target), "own_lowering", None)
    if convert is None:
        return
    loaded = load_requested(request)
    example = example_input(contract_of(loaded, request.spec), request.batch)
    convert(loaded.module.eval(), example, path)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

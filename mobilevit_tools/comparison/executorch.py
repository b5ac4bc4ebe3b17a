"""The weights that an ExecuTorch program and its backends store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mobilevit_tools.comparison.stored import Stored, Weight, weight
from mobilevit_tools.errors import BadInputError
from mobilevit_tools.runtimes.executorch_file import decode

if TYPE_CHECKING:
    from executorch.exir._serialize._program import PTEFile


def read_weights(path: Path) -> Stored:
    """Read what a program and its backends store. Backends keep no names, some not even single weights."""
    try:
        weights = tuple(_stored(decode(path)))
    except Exception as error:  # its decoder raises whatever a damaged file leads it to
        raise BadInputError(f"{path} cannot be read as an ExecuTorch program.", code="unloadable_artifact") from error
    return weights, ("ExecuTorch backends do not store weight names, so weights are compared by content.",)


def _stored(file: PTEFile) -> Iterator[Weight]:
    for buffer in file.program.constant_buffer:
        if buffer.storage:
            yield weight("", "bytes", (), bytes(buffer.storage))
    for content in file.named_data.buffers if file.named_data else ():
        yield weight("", "bytes", (), bytes(content))
    for plan in file.program.execution_plan:
        for number, delegate in enumerate(plan.delegates):
            blob = file.program.backend_delegate_data[delegate.processed.index].data
            yield weight(f"{plan.name}: {delegate.id} {number}", "program", (), bytes(blob))

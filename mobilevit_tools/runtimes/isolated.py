"""A session whose work is done by a child process, for runtimes that a damaged artifact can end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mobilevit_tools.data.contract import Contract
from mobilevit_tools.runtimes._base import OperatorUse, Session, TensorInfo, check_input, numpy_type
from mobilevit_tools.runtimes.child import PATIENCE_SECONDS, Child
from mobilevit_tools.runtimes.pieces import Piece

if TYPE_CHECKING:
    from numpy.typing import NDArray

SERVER = "mobilevit_tools.runtimes.serving"


class IsolatedSession(Session):
    """An artifact that is open in a process of its own, whose death or silence is an error here.

    Args:
        path: The artifact.
        threads: Threads of one inference.
        patience_s: How long loading, or a single inference, may take before the artifact counts as hung.
        module: The module that the child runs.

    Raises:
        BadInputError: The artifact cannot be loaded, or loading it ended or hung the runtime.
    """

    def __init__(self, path: Path, threads: int, *, patience_s: float = PATIENCE_SECONDS, module: str = SERVER) -> None:
        with ExitStack() as stack:
            child = Child(path, module, patience_s=patience_s)
            stack.callback(child.end)
            self._ask = child.ask
            facts, _ = self._ask("open", path=str(path.absolute()), threads=threads)
            self.inputs = tuple(_info(info) for info in facts["inputs"])
            self.outputs = tuple(_info(info) for info in facts["outputs"])
            self.contract, self.described = (
                None if facts[kind] is None else Contract.from_json(facts[kind]) for kind in ("contract", "described")
            )
            self.metadata = facts["metadata"]
            self.notes = tuple(facts["notes"])
            self.unverifiable = facts["unverifiable"]
            self.arithmetics = tuple(facts["arithmetics"])
            self._stack = stack.pop_all()

    def prepare(self, array: NDArray[Any]) -> Callable[[], object]:
        """Bind one input; the call also takes the way to the process and back, so that it is no latency."""
        check_input(self.inputs, array)
        bound = np.array(array, dtype=numpy_type(self.inputs[0]))
        return lambda: self.run(bound)

    def run(self, array: NDArray[Any]) -> list[NDArray[Any]]:
        """Run on one input; see the base class."""
        check_input(self.inputs, array)
        _, outputs = self._ask("run", array)
        return outputs

    def use(self, arithmetic: str) -> None:
        """Compute in one of ``arithmetics``; see the base class."""
        self._ask("use", arithmetic=arithmetic)

    def operators(self) -> Mapping[str, int]:
        """Count the artifact's operators; see the base class."""
        counts: dict[str, int] = self._ask("operators")[0]["operators"]
        return counts

    def operator_uses(self) -> tuple[OperatorUse, ...]:
        """Tell what is known of each operator type; see the base class."""
        return tuple(OperatorUse(**use) for use in self._ask("operator_uses")[0]["uses"])

    def pieces(self) -> tuple[Piece, ...]:
        """Tell what a backend takes over; see the base class."""
        stated = self._ask("pieces")[0]["pieces"]
        return tuple(Piece(**{**piece, "reads": tuple(piece["reads"])}) for piece in stated)

    def close(self) -> None:
        """End the process."""
        self._stack.close()


def _info(stated: dict[str, Any]) -> TensorInfo:
    return TensorInfo(**{**stated, "shape": tuple(stated["shape"])})

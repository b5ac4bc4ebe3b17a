"""The child process that opens and runs one artifact for :mod:`~mobilevit_tools.runtimes.isolated`.

What such a process does beside answering stands in :func:`main`, which takes any operations.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from mobilevit_tools.errors import BadInputError, MvtError, told
from mobilevit_tools.runtimes._base import UnsupportedOperatorError
from mobilevit_tools.runtimes.frames import read_frame, write_frame
from mobilevit_tools.runtimes.registry import load_session

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mobilevit_tools.runtimes._base import Session

Answer = tuple[dict[str, object], list["NDArray[Any]"]]
Operations = Mapping[str, Callable[..., Answer]]
"""What a child can be asked for, by name; each takes the arrays that were sent, and arguments by name."""


class Host:
    """Holds the artifact between requests."""

    def __init__(self) -> None:
        self._session: Session | None = None

    def open(self, _arrays: list[NDArray[Any]], path: str, threads: int) -> Answer:
        """Load the artifact and tell what there is to know of it."""
        self._session = session = load_session(Path(path), threads=threads)
        facts: dict[str, object] = {
            "inputs": [asdict(info) for info in session.inputs],
            "outputs": [asdict(info) for info in session.outputs],
            "contract": session.contract.to_json() if session.contract is not None else None,
            "described": session.described.to_json() if session.described is not None else None,
            "metadata": dict(session.metadata),
            "notes": session.notes,
            "unverifiable": session.unverifiable,
            "arithmetics": session.arithmetics,
        }
        return facts, []

    def run(self, arrays: list[NDArray[Any]]) -> Answer:
        """Run on one input."""
        return {}, self._opened().run(arrays[0])

    def use(self, _arrays: list[NDArray[Any]], arithmetic: str) -> Answer:
        """Compute in another arithmetic."""
        self._opened().use(arithmetic)
        return {}, []

    def operators(self, _arrays: list[NDArray[Any]]) -> Answer:
        """Count the operators."""
        return {"operators": dict(self._opened().operators())}, []

    def operator_uses(self, _arrays: list[NDArray[Any]]) -> Answer:
        """Tell what is known of the operators."""
        return {"uses": [asdict(use) for use in self._opened().operator_uses()]}, []

    def pieces(self, _arrays: list[NDArray[Any]]) -> Answer:
        """Tell what a backend takes over."""
        return {"pieces": [asdict(piece) for piece in self._opened().pieces()]}, []

    def _opened(self) -> Session:
        if self._session is None:
            raise RuntimeError("nothing is open")
        return self._session


def operations_of(host: Host) -> Operations:
    """Return what a session's child can be asked for."""
    return {
        operation.__name__: operation
        for operation in (host.open, host.run, host.use, host.operators, host.operator_uses, host.pieces)
    }


def serve(requests: BinaryIO, replies: BinaryIO, operations: Operations) -> None:
    """Answer requests until there are no more."""
    while True:
        try:
            request, arrays = read_frame(requests)
        except EOFError:
            return
        try:
            result, outputs = operations[request["operation"]](arrays, **request["arguments"])
            write_frame(replies, {"result": result}, outputs)
        except MemoryError:
            failure = BadInputError("The artifact needs more memory than this machine has.", code="out_of_memory")
            write_frame(replies, {"error": told(failure)})
        except UnsupportedOperatorError as error:
            write_frame(replies, {"error": told(error), "operators": error.operators})
        except MvtError as error:
            write_frame(replies, {"error": told(error)})
        except Exception as error:  # a fault of ours is told as one on the other side
            said = " ".join(f"{type(error).__name__}: {error}".split())
            write_frame(replies, {"error": told(MvtError(said))})


def bound_memory() -> None:
    """Let this process take no more memory than the machine has, and be the first to go where all are short of it.

    An artifact may state any size. An allocation that fails is an error; one that succeeds may end other programs.
    """
    import resource

    with suppress(OSError, ValueError):
        whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        bound = whole if hard == resource.RLIM_INFINITY else min(whole, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (bound, hard))
    with suppress(OSError):  # Linux alone has it
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    with suppress(OSError, ValueError):  # a crash is expected here: nobody wants gigabytes of its memory on disk
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main(operations: Operations) -> None:
    """Serve on the process's own stdin and stdout, which nothing else can then reach."""
    requests = os.fdopen(os.dup(sys.stdin.fileno()), "rb")
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    # Whatever a library prints, from Python or from C++, ends up with the complaints.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    bound_memory()
    with suppress(BrokenPipeError):  # whoever asked is gone
        serve(requests, replies, operations)


if __name__ == "__main__":
    main(operations_of(Host()))

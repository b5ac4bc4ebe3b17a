"""A process that ends, with all that it started, as soon as whoever waits for it is gone.

The one who waits keeps the child's standard input open. When that closes, be it that the one who waits was killed and
could not say goodbye, the child interrupts itself.
"""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType

_STDIN = 0
_AGAIN_S = 0.2
_ENDINGS = (signal.SIGINT, signal.SIGTERM)
_CHUNK = 1 << 16


def take_job() -> tuple[bytes, threading.Event]:
    """Read a line from standard input, and from then on interrupt this process when that closes.

    Returns:
        The line, and what tells whether the process was interrupted, even where a library swallowed that.

    Raises:
        KeyboardInterrupt: It closed before the line was whole.
    """
    heard = threading.Event()

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        heard.set()
        raise KeyboardInterrupt

    # Whatever this process inherited: shells let jobs in the background ignore SIGINT, Ray's workers block it.
    for number in _ENDINGS:
        signal.signal(number, interrupt)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDINGS)
    line = _read_line()
    threading.Thread(target=_interrupt_when_let_go, args=(heard,), daemon=True).start()
    return line, heard


def _read_line() -> bytes:
    """Read to the end of the line from the descriptor itself: a buffer would be locked while the thread waits."""
    line = b""
    while not line.endswith(b"\n"):
        chunk = os.read(_STDIN, _CHUNK)
        if not chunk:
            raise KeyboardInterrupt
        line += chunk
    return line


def _interrupt_when_let_go(heard: threading.Event) -> None:
    """Signal until it is heard: a signal that comes just before the main thread goes to sleep does not wake it."""
    os.read(_STDIN, 1)
    while True:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        if heard.wait(_AGAIN_S):
            return

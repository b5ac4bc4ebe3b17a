"""Start a program, wait for it, and end the way it ended.

A Ray worker that is told to stop kills the processes that it started itself, and nothing below them. A cell's process
must not die that way: it could not end its own commands. With this one in between, it lives on until it notices that
the worker is gone.

Run as a file by an interpreter without site packages, so that it costs nothing.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the program that the arguments say."""
    _, status = os.waitpid(os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ), 0)
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        os.kill(os.getpid(), -code)
    sys.exit(code)


if __name__ == "__main__":
    main()

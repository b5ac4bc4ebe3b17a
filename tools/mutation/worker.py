"""The process that takes damaged files one by one; it says which one before it opens it."""

from __future__ import annotations

import json
import os
import random
import sys
import traceback
from pathlib import Path
from tempfile import TemporaryDirectory

from mobilevit_tools.errors import ExitCode, MvtError
from mobilevit_tools.runtimes.serving import bound_memory
from tools.mutation.kinds import KINDS, WrongError, damaged


def generator(kind: str, seed: int, number: int) -> random.Random:
    """Return where the changes of one damaged file come from."""
    return random.Random(f"{kind} {seed} {number}")  # noqa: S311 - it repeats, and guards nothing


def make(kind: str, seed: int, number: int, originals: list[Path], folder: Path) -> tuple[Path, Path]:
    """Write one damaged file; return it and the whole one."""
    rng = generator(kind, seed, number)
    whole = rng.choice(originals)
    return damaged(whole, folder, rng, text=KINDS[kind].text), whole


def _outcome(kind: str, path: Path, whole: Path) -> str:
    try:
        KINDS[kind].use(path, whole)
    except MvtError as error:
        clear = error.exit_code != ExitCode.INTERNAL and "\n" not in error.message
        return "refused" if clear else f"unclear: {error.message}"
    except WrongError as error:
        return f"wrong: {error}"
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"escaped: {type(error).__name__}: {error} ({place.filename}:{place.lineno})"[:600]
    return "used"


def main() -> None:
    """Take the files from one number up to another: KIND SEED FIRST COUNT EXPORTED."""
    kind, seed, first, count, exported = sys.argv[1:]
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    bound_memory()
    with TemporaryDirectory() as folder:
        originals = KINDS[kind].make(Path(folder), Path(exported))
        for whole in originals:
            KINDS[kind].use(whole, whole)
        for number in range(int(first), int(count)):
            path, whole = make(kind, int(seed), number, originals, Path(folder))
            print(json.dumps({"starts": number}), file=replies, flush=True)
            print(json.dumps({"ended": number, "outcome": _outcome(kind, path, whole)}), file=replies, flush=True)


if __name__ == "__main__":
    main()

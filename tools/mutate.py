"""Damage files of the kinds that the commands take: ``python tools/mutate.py --count 10000 --seed 1 pte onnx``."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parents[1]))

import mobilevit_tools
from tools.mutation.campaign import run
from tools.mutation.kinds import KINDS, MODEL


def main() -> int:
    """Run a campaign of each kind; the exit status tells whether all was right."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"{', '.join(KINDS)}. Default: all.")
    parser.add_argument("--count", type=int, default=200, help="Damaged files of each kind. Default: 200.")
    parser.add_argument("--seed", type=int, default=0, help="Which ones. Default: 0.")
    parser.add_argument("--exported", type=Path, help=f"The artifacts of {MODEL}. Default: they are exported.")
    given = parser.parse_args()
    if unknown := set(given.kinds) - set(KINDS):
        parser.error(f"there is no kind {', '.join(sorted(unknown))}")
    faults = []
    with TemporaryDirectory() as folder:
        if given.exported is None:
            mobilevit_tools.export(MODEL, random_weights=True, output=folder)
        exported = given.exported or Path(folder) / MODEL
        for kind in given.kinds or KINDS:
            started = time.perf_counter()
            tally = run(kind, count=given.count, seed=given.seed, exported=exported)
            counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(tally.outcomes.items()))
            print(f"{kind}: {counts} ({time.perf_counter() - started:.0f} s)", flush=True)  # noqa: T201
            print(*(f"  {fault}" for fault in tally.faults), sep="\n", end="\n" if tally.faults else "", flush=True)  # noqa: T201
            faults += tally.faults
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())

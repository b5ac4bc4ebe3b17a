"""Run every conformance suite and write docs/reference/conformance.md: `make conformance`."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tools.conformance import coremltools_tests, operators, page

FAILED = frozenset({"wrong", "crash", "refused"})


def main() -> int:
    """Run the suites.

    Returns:
        1 where the reference predicts wrongly, refuses a valid program, or fails otherwise. What the exporters get
        wrong is for their gates, and for the page.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--per-function", type=int, default=60, help="cases of each test function; 0 for all")
    parser.add_argument("--operators", type=int, default=4, help="sample inputs of each operator")
    options = parser.parse_args()
    scope = "Every case ran."
    if options.per_function:
        scope = f"Of each test function at most {options.per_function} cases ran, the same ones each time."
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for suite, tests in coremltools_tests.SUITES.items():
            results = Path(folder) / f"{suite}.jsonl"
            found[suite] = coremltools_tests.run(tests, results, per_function=options.per_function)
            sys.stdout.write(f"{suite}: {dict(coremltools_tests.counts(found[suite]))}\n")
            sys.stdout.flush()
    cases = operators.run(options.operators)
    page.write(found, cases, scope)
    bad = [entry for results in found.values() for entry in results if entry.verdict in FAILED]
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

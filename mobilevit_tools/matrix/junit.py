"""JUnit XML of a matrix, as CI systems read it."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from mobilevit_tools.matrix.cell import CellResult
from mobilevit_tools.matrix.outcome import SmokeResult

SUITE = "mvt smoke"

_DECLARATION = '<?xml version="1.0" encoding="utf-8"?>'
# XML 1.0 has no way to write these characters, not even escaped.
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_xml(result: SmokeResult) -> str:
    """Return one test case a cell.

    A failed gate or a regression is a failure, everything else that went wrong an error. A cell that could not be
    verified, or that only the baseline has, is a skipped test case.
    """
    suite = ElementTree.Element("testsuite", name=SUITE)
    properties = ElementTree.SubElement(suite, "properties")
    for name, version in sorted(result.tools.items()):
        ElementTree.SubElement(properties, "property", name=name, value=_legal(version))
    for cell in result.cells:
        _add_case(suite, result, cell)
    missing = result.baseline.missing if result.baseline is not None else ()
    for name in missing:
        case = ElementTree.SubElement(suite, "testcase", classname=SUITE, name=_legal(name), time="0.000")
        ElementTree.SubElement(case, "skipped", message="Only in the baseline.")
    counts = {
        "tests": len(result.cells) + len(missing),
        "failures": len(suite.findall("testcase/failure")),
        "errors": len(suite.findall("testcase/error")),
        "skipped": len(suite.findall("testcase/skipped")),
    }
    totals = {name: str(count) for name, count in counts.items()} | {"time": f"{result.seconds:.3f}"}
    suite.attrib.update(totals)
    root = ElementTree.Element("testsuites", {"name": SUITE, **totals})
    root.append(suite)
    ElementTree.indent(root)
    return f"{_DECLARATION}\n{ElementTree.tostring(root, encoding='unicode')}\n"


def _add_case(suite: ElementTree.Element, result: SmokeResult, cell: CellResult) -> None:
    name, seconds = _legal(cell.cell.name), f"{cell.seconds:.3f}"
    case = ElementTree.SubElement(suite, "testcase", classname=SUITE, name=name, time=seconds)
    verdict = result.verdict(cell)
    if verdict == "passed":
        return
    if verdict == "not verified":
        ElementTree.SubElement(case, "skipped", message=_legal(cell.message or ""))
        return
    complaints = result.complaints(cell.cell.name)
    kind = "failure" if verdict in ("failed", "regressed") else "error"
    problem = ElementTree.SubElement(
        case, kind, type=_legal(cell.code or verdict.replace(" ", "_")), message=_legal(" ".join(complaints))
    )
    told = (*complaints, cell.hint, cell.command and f"Reproduce it: {cell.command}")
    problem.text = _legal("\n".join(line for line in told if line))


def _legal(text: str) -> str:
    return _ILLEGAL.sub("\N{REPLACEMENT CHARACTER}", text)

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

from mobilevit_tools.matrix.junit import junit_xml
from tests.matrix.samples import CELL, UNRUNNABLE, broken, not_verified, passed
from tests.matrix.test_outcome import OTHERS, outcome

NASTY = 'a <b> & "c" ]]> \x00\x1b[31m\ud800 é\nend'


def test_every_cell_is_a_test_case_with_its_time() -> None:
    suite = ElementTree.fromstring(junit_xml(outcome(passed(), passed(OTHERS[0])))).find("testsuite")
    assert suite is not None
    cases = suite.findall("testcase")
    assert [(case.get("name"), case.get("time")) for case in cases] == [
        (CELL.name, "12.250"),
        (OTHERS[0].name, "12.250"),
    ]
    assert all(len(case) == 0 for case in cases)
    assert {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped", "time")} == {
        "tests": "2",
        "failures": "0",
        "errors": "0",
        "skipped": "0",
        "time": "20.000",
    }


def test_a_gate_is_a_failure_a_crash_an_error_a_lost_cell_is_skipped() -> None:
    root = ElementTree.fromstring(
        junit_xml(outcome(broken(OTHERS[0], exit_code=4, message="SNR 3 dB"), broken(OTHERS[1]), before=passed()))
    )
    assert {name: root.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "3",
        "failures": "1",
        "errors": "1",
        "skipped": "1",
    }
    failure, error, skipped = root.find(".//failure"), root.find(".//error"), root.find(".//skipped")
    assert failure is not None
    assert error is not None
    assert skipped is not None
    assert failure.get("message") == "SNR 3 dB"
    assert error.get("type") == "crashed"
    assert "Reproduce it: mvt export 'a b' --output out" in (error.text or "")


def test_what_could_not_be_verified_is_skipped_with_the_reason() -> None:
    root = ElementTree.fromstring(junit_xml(outcome(not_verified())))
    (case,) = root.findall(".//testcase")
    assert [(each.tag, each.get("message")) for each in case] == [("skipped", UNRUNNABLE)]
    assert {name: root.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "1",
        "failures": "0",
        "errors": "0",
        "skipped": "1",
    }


def test_a_regression_is_a_failure_of_its_cell() -> None:
    root = ElementTree.fromstring(junit_xml(outcome(passed(size=2_000_000), before=passed())))
    failure = root.find(f".//testcase[@name='{CELL.name}']/failure")
    assert failure is not None
    assert failure.get("type") == "regressed"
    assert "2,000,000 bytes" in (failure.get("message") or "")


def test_whatever_a_message_holds_the_xml_is_well_formed() -> None:
    cell = replace(CELL, model=f"net{NASTY.replace(chr(0), '')}.py:build")
    text = junit_xml(outcome(broken(cell, message=NASTY, hint=NASTY)))
    root = ElementTree.fromstring(text.encode())
    error = root.find(".//error")
    assert error is not None
    assert error.get("message") == NASTY.replace("\x00", "�").replace("\x1b", "�").replace("\ud800", "�")
    assert (root.find(".//testcase").get("name") or "").startswith("neta <b> &")  # type: ignore[union-attr]

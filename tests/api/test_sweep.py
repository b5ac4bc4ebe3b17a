from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mobilevit_tools.api.sweep import SweepResult, sweep
from mobilevit_tools.errors import MvtError, UsageError
from mobilevit_tools.sweeping.ledger import RESULTS
from tests.sweeping.conftest import environment_of_cells  # noqa: F401
from tests.sweeping.stand_in import RUNNER, entries, eventually


def write_plan(folder: Path, *options: Mapping[str, object]) -> Path:
    """Write a plan of one cell for each set of options of the stand-in."""
    tables = []
    for number, given in enumerate(options):
        said = {"log": str(folder), "mark": f"m{number}", **given}
        inline = ", ".join(f"{key} = {json.dumps(value)}" for key, value in said.items())
        tables.append(f'[[models]]\nname = "couplformer_kct2"\nrandom_weights = true\noptions = {{ {inline} }}\n')
    path = folder / "sweep.toml"
    path.write_text('targets = ["onnx"]\n' + "\n".join(tables))
    return path


def run(plan: Path, **options: object) -> SweepResult:
    """Run a plan, all of whose cells pass."""
    return sweep(plan, output=plan.parent / "sweep", runner=RUNNER, **options)  # type: ignore[arg-type]


def fail(plan: Path, **options: object) -> SweepResult:
    """Run a plan, of which something does not pass, and return what it found."""
    with pytest.raises(MvtError) as caught:
        run(plan, **options)
    assert isinstance(caught.value.result, SweepResult)
    assert caught.value.exit_code == caught.value.result.exit_code
    return caught.value.result


def digests(folder: Path) -> list[str]:
    return [json.loads(line)["digest"] for line in (folder / "sweep" / RESULTS).read_text().splitlines()]


def test_what_is_finished_is_not_run_again(tmp_path: Path) -> None:
    plan = write_plan(tmp_path, {}, {}, {"end": "failed"})
    first = fail(plan)
    assert (first.passed, first.failed, first.errors, first.reused, first.exit_code) == (2, 1, 0, 0, 4)
    second = fail(plan)
    assert (second.passed, second.failed, second.errors, second.reused, second.exit_code) == (2, 1, 0, 3, 4)
    assert second.rows == first.rows
    assert len(entries(tmp_path)) == 3
    assert sorted(digests(tmp_path)) == sorted(row.digest for row in first.rows)
    assert [row["digest"] for row in pq.read_table(second.parquet).to_pylist()] == [row.digest for row in first.rows]


def test_only_what_has_changed_runs_again_and_nothing_is_forgotten(tmp_path: Path) -> None:
    first = run(write_plan(tmp_path, {}, {}))
    second = run(write_plan(tmp_path, {}, {"more": 1}, {}))
    assert second.reused == 1
    assert second.rows[0] == first.rows[0]
    assert len(entries(tmp_path)) == 4
    assert len(digests(tmp_path)) == 4
    third = run(write_plan(tmp_path, {}, {}))
    assert (third.reused, third.rows) == (2, first.rows)


def test_the_last_line_of_a_cell_is_the_one_that_holds_now(tmp_path: Path) -> None:
    plan, weights = write_plan(tmp_path, {}), tmp_path / "best.pth"
    plan.write_text(plan.read_text().replace("random_weights = true", 'checkpoint = "best.pth"'))
    told = []
    for content, reused in (("old", 0), ("new", 0), ("old", 1), ("old", 1)):
        weights.write_text(content)
        result = run(plan)
        assert result.reused == reused
        assert digests(tmp_path)[-1] == result.rows[0].digest
        told.append(result.rows[0].digest)
    assert digests(tmp_path) == told[:3]


def test_rows_of_checkpoints_and_models_of_one_name_are_told_apart(tmp_path: Path) -> None:
    plan = write_plan(tmp_path, {"mark": "m"})
    head, table = plan.read_text().split("[[models]]")
    tables = []
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        for file in ("best.pth", "net.py"):
            (tmp_path / place / file).touch()
        tables.append(table.replace("random_weights = true", f'checkpoint = "{place}/best.pth"'))
        tables.append(table.replace("couplformer_kct2", f"{place}/net.py:build"))
    plan.write_text("[[models]]".join((head, *tables)))
    rows = run(plan).rows
    options = f"log={tmp_path}, mark=m"
    assert [(row.model, row.variant) for row in rows] == [
        ("couplformer_kct2", f"a/best.pth, {options}"),
        ("a/net.py:build", options),
        ("couplformer_kct2", f"b/best.pth, {options}"),
        ("b/net.py:build", options),
    ]
    assert len({row.cell for row in rows}) == len(rows)


def test_what_could_not_be_verified_is_finished_and_no_pass(tmp_path: Path) -> None:
    plan = write_plan(tmp_path, {"end": "not_verified"}, {})
    first = run(plan)
    assert (first.passed, first.not_verified, first.failed, first.errors, first.exit_code) == (1, 1, 0, 0, 0)
    assert [row.status for row in first.rows] == ["not_verified", "passed"]
    assert run(plan).reused == 2


def test_failed_cells_run_again_only_where_that_is_asked_for(tmp_path: Path) -> None:
    plan = write_plan(tmp_path, {"end": "failed*1"}, {})
    assert fail(plan).failed == 1
    assert fail(plan).failed == 1
    again = run(plan, retry_failed=True)
    assert (again.passed, again.reused, again.exit_code) == (2, 1, 0)
    assert len(entries(tmp_path)) == 3


def test_errors_run_again_in_the_next_sweep(tmp_path: Path) -> None:
    plan = write_plan(tmp_path, {"end": "crash*2"}, {"end": "bad_input*1"})
    first = fail(plan)
    assert (first.errors, first.exit_code) == (2, 1)
    assert [row.message for row in first.rows] == ["The cell's process ended with code -9.", "It ended as bad_input."]
    second = run(plan)
    assert (second.passed, second.reused, second.exit_code) == (2, 0, 0)
    assert len(entries(tmp_path)) == 5


@pytest.mark.parametrize(
    ("ends", "code"),
    [
        (("passed", "crash", "bad_input", "device", "failed"), 1),
        (("bad_input", "device", "failed"), 3),
        (("passed", "device", "failed"), 6),
        (("passed", "failed"), 4),
    ],
)
def test_the_worst_cell_decides(tmp_path: Path, ends: tuple[str, ...], code: int) -> None:
    with pytest.raises(MvtError) as caught:
        sweep(write_plan(tmp_path, *({"end": end} for end in ends)), output=tmp_path / "sweep", runner=RUNNER)
    assert caught.value.exit_code == code
    assert caught.value.error_code == "sweep_failed"
    failed, errors = ends.count("failed"), len(ends) - ends.count("failed") - ends.count("passed")
    said = [f"{failed} of {len(ends)} cells failed their gate"] * bool(failed)
    said += [f"{errors} of {len(ends)} cells ended in an error"] * bool(errors)
    assert caught.value.message == f"{' and '.join(said)}."


def test_a_killed_sweep_goes_on_where_it_was(tmp_path: Path) -> None:
    plan = write_plan(tmp_path, {}, {"seconds": "60*1"}, {})
    program = "import sys; from tests.api.test_sweep import *; run(Path(sys.argv[1]), jobs=1)"
    killed = subprocess.Popen([sys.executable, "-c", program, plan])
    eventually(lambda: len(entries(tmp_path)) == 2)
    killed.kill()
    killed.wait()
    eventually(lambda: entries(tmp_path)[1].interrupted)
    assert len(digests(tmp_path)) == 1
    with (tmp_path / "sweep" / RESULTS).open("a") as file:
        file.write('{"cell": {"mod')  # as much as came to the disk of the next one
    result = run(plan, jobs=1)
    assert (result.passed, result.reused) == (3, 1)
    assert result.torn == f"Line 2 of {tmp_path}/sweep/{RESULTS} is truncated; its cell runs again."
    assert len(entries(tmp_path)) == 4
    assert digests(tmp_path) == [row.digest for row in result.rows]


def test_artifacts_are_kept_where_that_is_asked_for(tmp_path: Path) -> None:
    plan = write_plan(tmp_path, {})
    run(plan)
    assert not (tmp_path / "sweep" / "artifacts").exists()
    for reused in (0, 1):  # what was thrown away is made once more, and then kept
        assert run(plan, keep_artifacts=True).reused == reused
        (folder,) = (tmp_path / "sweep" / "artifacts").iterdir()
        assert folder.name.startswith("couplformer_kct2-onnx-fp32-")
        assert [path.name for path in folder.iterdir()] == ["made"]


def test_an_artifact_that_a_kill_kept_from_being_made_is_no_kept_one(tmp_path: Path) -> None:
    plan = write_plan(tmp_path, {})
    run(plan)
    thrown = (tmp_path / "sweep" / RESULTS).read_bytes()
    run(plan, keep_artifacts=True)
    (made,) = (tmp_path / "sweep" / "artifacts").glob("*/made")
    (tmp_path / "sweep" / RESULTS).write_bytes(thrown)  # killed after its folder was made anew
    made.unlink()
    assert run(plan, keep_artifacts=True).reused == 0
    assert made.exists()
    made.unlink()
    assert run(plan, keep_artifacts=True).reused == 0
    assert made.exists()


def test_a_sweep_may_be_moved_with_its_artifacts(tmp_path: Path) -> None:
    plan = write_plan(tmp_path, {})
    run(plan, keep_artifacts=True)
    (tmp_path / "sweep").rename(tmp_path / "moved")
    assert sweep(plan, output=tmp_path / "moved", runner=RUNNER, keep_artifacts=True).reused == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"engine": "slurm"}, "There is no engine 'slurm'."),
        ({"address": "host:6379"}, "--address requires the Ray engine."),
        ({"engine": "ray", "jobs": 2}, "--jobs has no effect on a cluster, which schedules by CPUs."),
    ],
)
def test_options_that_contradict_each_other(tmp_path: Path, options: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        sweep(write_plan(tmp_path, {}), output=tmp_path / "sweep", runner=RUNNER, **options)  # type: ignore[arg-type]
    assert entries(tmp_path) == []

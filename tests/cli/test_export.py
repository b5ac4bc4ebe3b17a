"""``mvt export`` on real artifacts: what it writes, what it refuses, and what it leaves behind when it is stopped."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from mobilevit_tools.runtimes.registry import open_session
from mobilevit_tools.targets.registry import TARGETS
from tests.cli.conftest import Ran
from tests.conftest import SMALL
from tests.matrix import nets
from tests.tiers import thorough

Mvt = Callable[..., Ran]


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_result_fields_and_files(mvt: Mvt, tmp_path: Path) -> None:
    ran = mvt("export", SMALL, "--random-weights", "-t", "onnx", "--output", tmp_path / "out", "--json")
    assert ran.code == 0, ran.err
    (artifact,) = ran.envelope["result"]["artifacts"]
    documented = {"target", "backend", "precision", "path", "manifest", "size_bytes", "parity", "delegation", "seconds"}
    assert documented <= set(artifact)
    assert artifact["parity"]["status"] == "passed"
    assert Path(artifact["path"]).stat().st_size == artifact["size_bytes"]
    assert tree(tmp_path / "out" / SMALL) == ["onnx-fp32", "onnx-fp32/manifest.json", "onnx-fp32/model.onnx"]


def test_rewrites_are_told_recorded_and_chosen(mvt: Mvt, tmp_path: Path) -> None:
    def rewrites(*options: str) -> tuple[Ran, list[dict[str, object]], float]:
        ran = mvt(
            "export", SMALL, "--random-weights", "-t", "executorch", "--output", tmp_path, "--overwrite", *options
        )
        assert ran.code == 0, ran.err
        manifest = json.loads((tmp_path / SMALL / "executorch-xnnpack-fp32" / "manifest.json").read_text())
        return ran, manifest["rewrites"], manifest["rewrite_difference"]

    ran, applied, difference = rewrites()
    assert applied
    assert 0 <= difference < 1e-12
    for rewrite in applied:
        assert f"{rewrite['summary']}: {rewrite['places']} place" in ran.out.replace("\n", " ")
    assert "checked in float64" in ran.out
    chosen = applied[-1]["name"]
    assert [rewrite["name"] for rewrite in rewrites("--rewrites", str(chosen))[1]] == [chosen]
    ran, applied, difference = rewrites("--no-rewrites")
    assert (applied, difference) == ([], 0.0)
    assert "proved" not in ran.out


@pytest.mark.parametrize(
    ("options", "code"),
    [(["--no-rewrites", "--rewrites", "merged_heads"], "usage"), (["--rewrites", "merged_head"], "unknown_rewrite")],
)
def test_rewrites_that_cannot_be_meant(mvt: Mvt, tmp_path: Path, options: list[str], code: str) -> None:
    ran = mvt("export", "no_such_model", "-t", "onnx", "--output", tmp_path, *options, "--json")
    assert (ran.code, ran.envelope["error"]["code"]) == (2, code)


@pytest.mark.parametrize(
    ("options", "refused"),
    [
        (["-t", "coreml", "-t", "executorch", "--dynamic-batch"], "--dynamic-batch"),
        (["-t", "onnx", "--tensor-io"], "--tensor-io"),
        (["-t", "onnx", "-t", "executorch", "--deployment-target", "iOS18"], "--deployment-target"),
        (["-t", "coreml", "--opset", "20"], "--opset"),
        (["-t", "onnx", "--calibration", "nowhere"], "--calibration"),
        (["-t", "onnx", "--precision", "fp16", "--calibration-method", "bogus"], "--calibration-method"),
        (["-t", "onnx", "--precision", "dynamic-int8", "--calibration-size", "0"], "--calibration-size"),
    ],
)
def test_an_option_that_nothing_of_it_takes_is_refused(
    mvt: Mvt, tmp_path: Path, options: list[str], refused: str
) -> None:
    ran = mvt("export", SMALL, "--random-weights", "--output", tmp_path / "out", *options, "--json")
    assert (ran.code, ran.envelope["error"]["code"]) == (2, "usage")
    assert re.search(rf"{refused}\b(?!-)", ran.envelope["error"]["message"])
    assert not (tmp_path / "out").exists()


def test_where_the_time_went(mvt: Mvt, tmp_path: Path) -> None:
    ran = mvt("export", SMALL, "--random-weights", "-t", "onnx", "--output", tmp_path, "-v")
    said = re.search(r"onnx: ([0-9.]+) s: (.+?)\n", ran.out.replace(",\n", ", "))
    assert said is not None, ran.out
    steps = {step: float(took) for step, took in re.findall(r"(\w+) ([0-9.]+) s", said[2])}
    assert {"import", "rewrite", "convert", "verify", "other"} <= set(steps)
    assert abs(sum(steps.values()) - float(said[1])) < 0.1 * len(steps)


def test_random_weights_are_said_so_everywhere(mvt: Mvt, exported: Path) -> None:
    ran = mvt("inspect", exported / "onnx-fp32" / "model.onnx")
    assert "random weights" in ran.out


def test_nothing_is_overwritten_unasked(mvt: Mvt, exported: Path) -> None:
    manifest = exported / "onnx-fp32" / "manifest.json"
    before = manifest.read_bytes()
    ran = mvt("export", SMALL, "--random-weights", "-t", "onnx", "--output", exported.parent, "--json")
    assert (ran.code, ran.envelope["error"]["code"]) == (2, "exists")
    assert manifest.read_bytes() == before


@pytest.mark.parametrize("kind", ["file", "below a file"])
def test_an_output_that_is_a_file(mvt: Mvt, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "taken"
    path.write_text("mine")
    output = path if kind == "file" else path / "deeper"
    ran = mvt("export", SMALL, "--random-weights", "-t", "onnx", "--output", output, "--json")
    assert (ran.code, ran.envelope["error"]["code"]) == (3, "output")
    assert path.read_text() == "mine"


def test_labels_must_match_the_classes(mvt: Mvt, tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("cat\ndog\n")
    ran = mvt(
        "export", SMALL, "--random-weights", "-t", "onnx", "--labels", labels, "--output", tmp_path / "out", "--json"
    )
    assert (ran.code, ran.envelope["error"]["code"]) == (3, "label_count")
    assert "2 labels for 10 classes" in ran.envelope["error"]["message"]


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    output = tmp_path / "out"
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "mobilevit_tools",
            "export",
            SMALL,
            "--random-weights",
            "-t",
            "onnx",
            "--output",
            str(output),
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not list(output.rglob("*.partial")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "Interrupted" in err
    assert not output.exists()


def test_ctrl_c_keeps_what_was_finished_and_says_so(mvt: Mvt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mobilevit_tools.exporters.coreml.lower", stop)
    output = tmp_path / "out"
    ran = mvt("export", SMALL, "--random-weights", "-t", "onnx", "-t", "coreml", "--output", output, "--json")
    assert ran.code == 130, ran.out
    assert tree(output / SMALL) == ["onnx-fp32", "onnx-fp32/manifest.json", "onnx-fp32/model.onnx"]
    assert f"finished artifacts are kept in {output}" in ran.envelope["error"]["message"]


@pytest.mark.parametrize("there_already", [False, True])
def test_ctrl_c_tells_of_nothing_finished_where_nothing_was(
    mvt: Mvt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there_already: bool
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    output = tmp_path / "out"
    call = ["export", SMALL, "--random-weights", "-t", "onnx", "--output", output, "--overwrite", "--json"]
    if there_already:
        assert mvt(*call).code == 0
    monkeypatch.setattr("mobilevit_tools.exporters.onnx.lower", stop)
    ran = mvt(*call)
    assert ran.code == 130, ran.out
    assert ran.envelope["error"]["message"] == "Interrupted; no partial files remain."
    assert output.exists() == there_already


def next_command(ran: Ran) -> list[str]:
    """Return the words of the command that the run ends with."""
    (line,) = [line for line in ran.out.splitlines() if line.startswith("next: ")]
    return shlex.split(line.removeprefix("next: "))


@pytest.mark.parametrize(
    ("options", "verb", "variant"),
    [
        (["-t", "coreml"], "inspect", "coreml-fp32/model.mlpackage"),
        (["-t", "onnx", "-t", "coreml"], "profile", "onnx-fp32/model.onnx"),
        thorough(["-t", "executorch", "--backend", "vulkan"], "inspect", "executorch-vulkan-fp32/model.pte"),
    ],
)
def test_what_is_said_to_be_next_works_here(
    mvt: Mvt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], verb: str, variant: str
) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    output = tmp_path / "it's mine"
    ran = mvt("export", SMALL, "--random-weights", "--output", output, *options)
    assert ran.code == 0, ran.err
    command = next_command(ran)
    assert command == ["mvt", verb, str(output / SMALL / variant)]
    if verb == "inspect":
        assert mvt(*command[1:]).code == 0


def test_a_failed_artifact_is_next_to_be_looked_at(mvt: Mvt, tmp_path: Path) -> None:
    net = shutil.copy(nets.__file__, tmp_path / "net.py")
    call = ["export", f"{net}:two_faced", "--random-weights", "-t", "onnx", "--output", tmp_path / "out"]
    ran = mvt(*call, "--quiet")
    assert (ran.code, ran.out) == (4, "")  # no path of what was removed
    ran = mvt(*call, "--keep-failed")
    assert ran.code == 4, ran.err
    command = next_command(ran)
    assert command == ["mvt", "inspect", str(tmp_path / "out/net_two_faced/onnx-fp32/model.onnx")]
    assert mvt(*command[1:]).code == 0


def test_the_help_says_what_is_exported_to_by_default(mvt: Mvt) -> None:
    assert f"{', '.join(TARGETS)}, all (those without an extra)" in " ".join(mvt("export", "--help").out.split())


def test_what_was_finished_before_an_error_is_told(mvt: Mvt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ValueError("no such operator")

    monkeypatch.setattr("mobilevit_tools.exporters.coreml.lower", refuse)
    call = ["export", SMALL, "--random-weights", "-t", "onnx", "-t", "coreml", "--output", tmp_path]
    ran = mvt(*call, "--json")
    assert ran.code == 3, ran.out
    assert ran.envelope["error"]["code"] == "not_convertible"
    (artifact,) = ran.envelope["result"]["artifacts"]
    assert (artifact["target"], artifact["kept"]) == ("onnx", True)
    assert Path(artifact["path"]).is_file()
    ran = mvt(*call, "--overwrite")
    assert ran.code == 3
    assert f"wrote {artifact['path']}" in ran.out
    assert "no such operator" in ran.err


@pytest.mark.parametrize("package", ["coremltools", "onnxruntime"])
def test_a_missing_package_is_said_before_anything_is_exported(
    mvt: Mvt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    for module in ("exporters._base", "runtimes.registry"):
        monkeypatch.setattr(
            f"mobilevit_tools.{module}.find_spec", lambda name: None if name == package else find_spec(name)
        )
    targets = ("-t", "executorch", "-t", "onnx", "-t", "coreml")
    ran = mvt("export", SMALL, "--random-weights", *targets, "--output", tmp_path / "out", "--json")
    assert (ran.code, ran.envelope["error"]["code"]) == (5, "missing_dependency")
    assert package in ran.envelope["error"]["message"]
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(
    shutil.which("unshare") is None or os.geteuid() != 0, reason="needs a small disk of its own: root on Linux"
)
def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    # A mount of 256 kB, seen by this one process and its children only.
    script = (
        'mount -t tmpfs -o size=256k none "$1" && "$2" -m mobilevit_tools export "$3" --random-weights -t onnx '
        '--output "$1/out"; code=$?; ls -A "$1"; exit $code'
    )
    ran = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", str(tmp_path), sys.executable, SMALL],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 3, ran.stderr
    assert "No space is left" in ran.stderr
    assert ran.stdout == ""


def test_a_bundle_for_the_app(mvt: Mvt, tmp_path: Path) -> None:
    labels = [f"class {index}" for index in range(8)] + ["twice", "twice"]
    (tmp_path / "labels.txt").write_text("\n".join(labels))
    given = ("-t", "coreml", "--labels", tmp_path / "labels.txt", "--output", tmp_path / "out", "--bundle")
    ran = mvt("export", SMALL, "--random-weights", *given, "--json")
    assert ran.code == 0, ran.err
    (artifact,) = ran.envelope["result"]["artifacts"]
    bundle = Path(artifact["bundle"])
    assert bundle == Path(artifact["path"]).parent / "bundle"
    golden = json.loads((bundle / "golden.json").read_text())
    (output,) = golden["outputs"]
    with open_session(bundle / "model.mlpackage") as session:
        assert output["name"] in {info.name for info in session.outputs}
    assert output["by_label"] is True
    assert golden["labels"][-2:] == ["twice (8)", "twice (9)"]
    expected = np.fromfile(bundle / output["file"], "<f4")
    assert expected.sum() == pytest.approx(1, abs=1e-6)
    assert golden["parity"] == artifact["parity"]["status"] == "passed"
    assert '"twice (9)",' in (bundle / "GoldenCheck.swift").read_text()


UPSAMPLING = """
import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 8, 4, 4)
        self.up = torch.nn.ConvTranspose2d(8, 32, 2, 2)
        self.head = torch.nn.Linear(32, 4)

    def forward(self, x):
        return self.head(self.up(self.stem(x)).mean((2, 3)))


def build():
    return Net(), {"input_size": (16, 16)}
"""


def test_too_little_that_is_quantized_is_a_failed_gate_unless_it_is_asked_for(mvt: Mvt, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(UPSAMPLING)
    command = ("export", tmp_path / "net.py:build", "--random-weights", "-t", "onnx", "--precision", "int8-weight")
    refused = mvt(*command, "--output", tmp_path / "out", "--json")
    assert refused.code == 4
    error = json.loads(refused.out)["error"]
    assert "33.3 % of its weights are quantized, below 90 %: up.weight (ConvTranspose, 66.7%)" in error["message"]
    assert "--least-quantized" in error["hint"]
    accepted = mvt(*command, "--output", tmp_path / "out", "--least-quantized", "25")
    assert accepted.code == 0, accepted.err
    assert "quantized: 33.3% of the weights" in accepted.out
    (path,) = tmp_path.glob("out/*/*/model.onnx")
    stated = json.loads((path.parent / "manifest.json").read_text())
    assert stated["quantized"]["weights"] == pytest.approx(1 / 3)
    assert stated["request"]["least_quantized"] == 25
    (path.parent / "manifest.json").unlink()  # as of a model of others
    assert "33.3% of the weights" in mvt("inspect", path).out


BRANCHES = """
import torch
from torch import nn


class Branches(nn.Module):
    def __init__(self, right):
        super().__init__()
        self.one, self.other, self.right = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1), right
        self.whole = None

    def switch_to_deploy(self):
        self.whole = nn.Conv2d(3, 4, 1)
        with torch.no_grad():
            self.whole.weight.copy_(self.one.weight + self.other.weight)
            self.whole.bias.copy_(self.one.bias + self.right * self.other.bias)
        del self.one, self.other

    def forward(self, x):
        x = self.one(x) + self.other(x) if self.whole is None else self.whole(x)
        return x.mean((2, 3))


def build(right: int = 1): return Branches(right)
"""


@pytest.mark.parametrize(
    ("right", "said"), [(1, "fused by the model's own method: 1 place, 16 parameters fewer"), (0, "not fused")]
)
def test_branches_of_training_are_told(mvt: Mvt, tmp_path: Path, right: int, said: str) -> None:
    (tmp_path / "net.py").write_text(BRANCHES)
    arguments = ["export", f"{tmp_path / 'net.py'}:build", "-o", f"right={right}", "--random-weights"]
    arguments += ["--input-size", "32x32", "--target", "onnx", "--output", str(tmp_path / "out")]
    ran = mvt(*arguments)
    assert ran.code == 0
    assert said in " ".join(ran.out.split())
    fused = mvt(*arguments, "--overwrite", "--json").envelope["result"]["fused"]
    assert (fused["places"], fused["left"] is None) == (right, bool(right))

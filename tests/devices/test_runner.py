from __future__ import annotations

import ast
import io
import json
import shutil
import subprocess
import sys
import tarfile
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

import numpy as np
import pytest

import mobilevit_tools as mvt
from mobilevit_tools.devices import RunRequest, protocol, runner, toolchain
from mobilevit_tools.devices._base import Settling
from mobilevit_tools.errors import BadInputError, DeviceError, MissingDependencyError
from mobilevit_tools.runtimes.registry import load_session
from mobilevit_tools.tasks.detect import best_of
from tests.devices.conftest import SETTLINGS, Artifacts, check_warm_up, relative_error
from tests.exporters.test_onnx_suppression import overlapping
from tests.tasks.nets import CARD, SIZE


def run(program: runner.Program, *arguments: object) -> subprocess.CompletedProcess[str]:
    with TemporaryDirectory() as folder:  # as on a device: every file under the name that it must have there
        for name, path in program.files.items():
            shutil.copy(path, Path(folder, name))
        command = [*program.command(folder), *(str(word) for word in arguments)]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module", params=["executorch", "onnx", "onnx in Python"])
def built(request: pytest.FixtureRequest, artifacts: Artifacts) -> tuple[runner.Program, Path]:
    if request.param == "onnx in Python":
        return runner.Script(sys.executable, toolchain.host_arch(), "onnx"), artifacts.onnx
    return (
        runner.build(request.param, toolchain.host_arch()),
        artifacts.fp32 if request.param == "executorch" else artifacts.onnx,
    )


def test_the_protocol_end_to_end(built: tuple[runner.Program, Path], artifacts: Artifacts, tmp_path: Path) -> None:
    program, model = built
    protocol.write_tensor(tmp_path / "in", artifacts.inputs)
    done = run(program, model, tmp_path / "in", tmp_path / "out", 3, 5, "--threads", 2)
    assert done.returncode == 0, done.stderr
    fields = json.loads(done.stdout)
    assert set(fields) == {"load_ms", "warmup_ms", "samples_ms", "planned_bytes", "maxrss_kb", "threads"}
    assert len(fields["warmup_ms"]) == 3
    assert len(fields["samples_ms"]) == 5
    assert all(sample > 0 for sample in fields["samples_ms"])
    assert fields["threads"] == 2
    outputs = protocol.read_tensor(tmp_path / "out")
    assert outputs.shape == artifacts.reference.shape  # three inputs through a model of batch one
    assert relative_error(outputs, artifacts.reference) < 1e-5


@pytest.mark.parametrize("settling", SETTLINGS)
def test_the_warm_up_goes_on_until_two_windows_agree(
    built: tuple[runner.Program, Path], artifacts: Artifacts, tmp_path: Path, settling: Settling
) -> None:
    request = RunRequest(built[1], artifacts.inputs, warmup=4, iterations=1, settling=settling)
    protocol.write_tensor(tmp_path / "in", artifacts.inputs)
    done = run(built[0], built[1], tmp_path / "in", tmp_path / "out", 4, 1, *protocol.options(request))
    assert done.returncode == 0, done.stderr
    check_warm_up(json.loads(done.stdout)["warmup_ms"], request)


def test_a_warm_up_that_never_settles_and_runs_that_are_too_fast_take_their_seconds(
    built: tuple[runner.Program, Path], artifacts: Artifacts, tmp_path: Path
) -> None:
    never = Settling(window=2, agreement=-1.0, max_runs=10**9, max_seconds=0.2)
    request = RunRequest(built[1], artifacts.inputs, warmup_s=0.1, seconds=0.4, settling=never)
    protocol.write_tensor(tmp_path / "in", artifacts.inputs)
    done = run(built[0], built[1], tmp_path / "in", tmp_path / "out", 1, 1, *protocol.options(request))
    assert done.returncode == 0, done.stderr
    fields = json.loads(done.stdout)
    for name, seconds in (("warmup_ms", 0.3), ("samples_ms", 0.4)):
        assert 0.5 * seconds < sum(fields[name]) / 1e3 < seconds + 0.5, name
    assert relative_error(protocol.read_tensor(tmp_path / "out"), artifacts.reference) < 1e-5


@pytest.mark.parametrize("built", ["executorch", "onnx"], indirect=True)
def test_the_runner_tells_only_its_own_memory(built: tuple[runner.Program, Path], tmp_path: Path) -> None:
    ballast = np.ones(1 << 27, np.uint8)  # what the parent holds must not count
    program, model = built
    protocol.write_tensor(tmp_path / "in", np.zeros((1, 3, 32, 32), np.float32))
    done = run(program, model, tmp_path / "in", tmp_path / "out", 0, 1)
    assert json.loads(done.stdout)["maxrss_kb"] * 1024 < ballast.nbytes


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (np.zeros((1, 3, 16, 16), np.float32), "the model takes float32 [1, 3, 32, 32] and the input is"),
        (np.zeros((1, 3, 32, 32), np.uint8), "is uint8 [1, 3, 32, 32]"),
        (np.zeros((3, 32, 32), np.float32), "is float32 [3, 32, 32]"),
        (np.zeros((0, 3, 32, 32), np.float32), "is float32 [0, 3, 32, 32]"),
    ],
)
def test_an_input_that_does_not_fit_is_refused(
    built: tuple[runner.Program, Path], tmp_path: Path, inputs: np.ndarray, words: str
) -> None:
    program, model = built
    protocol.write_tensor(tmp_path / "in", inputs)
    done = run(program, model, tmp_path / "in", tmp_path / "out", 0, 1)
    assert done.returncode == 4
    assert words in done.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("target", ["executorch", "onnx"])
def test_the_runner_detects_what_mvt_detects(target: str, tmp_path: Path) -> None:
    net = {"name": "net", "card": {**CARD, "task": "detect"}, "targets": target}
    artifact = mvt.export(overlapping(), output=tmp_path / "made", **net).artifacts[0].path
    inputs = np.random.default_rng(2).standard_normal((3, 3, *SIZE)).astype(np.float32)
    protocol.write_tensor(tmp_path / "in", inputs)
    program = runner.build(target, toolchain.host_arch())
    done = run(program, artifact, tmp_path / "in", tmp_path / "out", 1, 1, *protocol.suppression())
    assert done.returncode == 0, done.stderr
    found = protocol.read_tensor(tmp_path / "out")
    assert found.shape == (3, 72, 6)
    with load_session(artifact) as session:
        answers = [session.run(each[None]) for each in inputs]
    for rows, (boxes, scores) in zip(found, answers, strict=True):
        wanted = best_of(boxes[0], scores[0])
        assert 5 < len(wanted) < 72
        np.testing.assert_allclose(rows[: len(wanted)], wanted, atol=1e-4)
        assert not rows[len(wanted) :].any()
    assert run(program, artifact, tmp_path / "in", tmp_path / "out", 1, 1).returncode == 3
    verified = mvt.verify(artifact, model=overlapping(), device="host")
    assert verified.parity.status == "passed"
    assert verified.parity.box_agreement == 1


@pytest.mark.parametrize("content", [b"", b"mvt1 float32 1 3 32 32\n", b"mvt1 float32 9999999999 9999999999\nx"])
def test_a_broken_tensor_file_is_refused(built: tuple[runner.Program, Path], tmp_path: Path, content: bytes) -> None:
    (tmp_path / "in").write_bytes(content)
    assert run(built[0], built[1], tmp_path / "in", tmp_path / "out", 0, 1).returncode == 2


def test_a_damaged_model_is_refused_with_a_sentence(built: tuple[runner.Program, Path], tmp_path: Path) -> None:
    program, model = built
    protocol.write_tensor(tmp_path / "in", np.zeros((1, 3, 32, 32), np.float32))
    half = tmp_path / f"half{model.suffix}"
    half.write_bytes(model.read_bytes()[:1500])
    for damaged in (half, tmp_path / "absent.pte"):
        done = run(program, damaged, tmp_path / "in", tmp_path / "out", 0, 1)
        assert done.returncode == 3
        assert done.stderr.splitlines()[-1].startswith("runner: ")


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["a", "b", "c", "-1", "1"],
        ["a", "b", "c", "1", "x"],
        ["a", "b", "c", "1", "1", "--seconds", "ten"],
        ["a", "b", "c", "1", "1", "--seconds", "nan"],
        ["a", "b", "c", "1", "1", "--window", "-1"],
        ["a", "b", "c", "1", "1", "--agreement"],
    ],
)
def test_a_wrong_command_line_is_refused(built: tuple[runner.Program, Path], words: list[str]) -> None:
    assert run(built[0], *words).returncode == 2


def test_a_runner_is_built_once_and_again_when_its_source_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = toolchain.toolchain_root()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(toolchain, "toolchain_root", lambda: prepared)
    sources = tmp_path / "native"
    sources.mkdir()
    for path in filter(Path.is_file, runner.SOURCES.iterdir()):  # beside which there may be a cache of Python's
        (sources / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(runner, "SOURCES", sources)
    first = runner.build("onnx", toolchain.host_arch())
    built = (first.folder / runner.RUNNER).stat().st_mtime_ns
    assert runner.build("onnx", toolchain.host_arch()) == first
    assert (first.folder / runner.RUNNER).stat().st_mtime_ns == built
    with (sources / "runner.hpp").open("a") as file:
        file.write("// changed\n")
    assert runner.build("onnx", toolchain.host_arch()).folder != first.folder
    with (sources / "runner.hpp").open("a") as file:
        file.write("#error broken on purpose\n")
    with pytest.raises(DeviceError, match="broken on purpose"):
        runner.build("onnx", toolchain.host_arch())
    assert len(list(first.folder.parent.iterdir())) == 2  # nothing half-built stays


def test_without_a_compiler_the_remedy_is_a_command(empty_path: Path) -> None:
    with pytest.raises(MissingDependencyError) as caught:
        runner.build("executorch", toolchain.host_arch())
    assert caught.value.message == "g++ is not installed."
    assert caught.value.hint is not None
    assert caught.value.hint.endswith("-m mobilevit_tools.devices.prepare count")


def test_core_ml_has_no_native_runner() -> None:
    with pytest.raises(BadInputError, match="not coreml"):
        runner.build("coreml", toolchain.host_arch())


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The engine of Core ML that is pushed to a Mac."""
    monkeypatch.syspath_prepend(str(runner.SOURCES))
    spec = spec_from_file_location("pushed_engine", runner.SOURCES / "coreml_engine.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", sorted(runner.SOURCES.glob("*.py")), ids=lambda path: path.name)
def test_the_scripts_are_for_the_python_of_a_mac(path: Path) -> None:
    tree = ast.parse(path.read_text(), feature_version=(3, 9))
    nodes = list(ast.walk(tree))
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    assert not [call.lineno for call in calls if "strict" in {keyword.arg for keyword in call.keywords}]
    futures = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    assert [name.name for name in futures[0].names] == ["annotations"]  # `X | Y` is only text
    imported = {name.name for node in nodes if isinstance(node, ast.Import) for name in node.names}
    imported |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    given = {"numpy", "onnxruntime", "torch", "executorch", "coremltools", "engine", "target_engine"}
    assert {name.partition(".")[0] for name in imported} <= {*sys.stdlib_module_names} - {"tomllib"} | given


def _without_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    """As tarfile is in a Mac's own Python, 3.9.6."""
    real = tarfile.TarFile.extractall
    monkeypatch.delattr(tarfile, "data_filter")
    monkeypatch.setattr(tarfile.TarFile, "extractall", lambda self, path=".": real(self, path, filter="fully_trusted"))


@pytest.mark.parametrize("filters", [True, False])
def test_a_package_is_unpacked_by_a_python_of_any_age(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, filters: bool
) -> None:
    (tmp_path / "in/Data").mkdir(parents=True)
    (tmp_path / "in/Manifest.json").write_text("{}")
    (tmp_path / "in/Data/weight.bin").write_bytes(b"12")
    with tarfile.open(tmp_path / "m.tar", "w") as archive:
        for path in sorted((tmp_path / "in").iterdir()):
            archive.add(path, path.name)
    if not filters:
        _without_filters(monkeypatch)
    script.unpack(tmp_path / "m.tar", tmp_path / "out")
    assert (tmp_path / "out/Manifest.json").read_text() == "{}"
    assert (tmp_path / "out/Data/weight.bin").read_bytes() == b"12"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("../stray", tarfile.REGTYPE),
        ("Data/../../stray", tarfile.REGTYPE),
        ("/tmp/mvt-stray", tarfile.REGTYPE),
        ("link", tarfile.SYMTYPE),
        ("link", tarfile.LNKTYPE),
        ("pipe", tarfile.FIFOTYPE),
    ],
)
def test_without_filters_only_plain_files_inside_are_unpacked(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: bytes
) -> None:
    with tarfile.open(tmp_path / "m.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("Manifest.json"), io.BytesIO())
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = kind, "../elsewhere"
        archive.addfile(entry, io.BytesIO())
    _without_filters(monkeypatch)
    with pytest.raises(script.RunnerError, match=name) as caught:
        script.unpack(tmp_path / "m.tar", tmp_path / "out")
    assert caught.value.code == 3
    assert [each.name for each in tmp_path.iterdir()] == ["m.tar"]

"""Snippets compile and run. The mobile frameworks are not to be had here: small stand-ins with the same names and types
take their place, which write down what they are given and answer with what the artifact's runtime on this machine gave.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from mobilevit_tools.bundle.contents import Golden
from mobilevit_tools.bundle.snippets import KOTLIN, SWIFT, render
from mobilevit_tools.devices import debian, toolchain
from mobilevit_tools.runtimes.registry import open_session
from tests.bundle.conftest import FRAMEWORKS, golden_in

pytestmark = pytest.mark.slow

MODULES = {
    "onnx": ("OnnxRuntimeBindings",),
    "coreml": ("CoreVideo", "CoreML"),
    "executorch": ("ExecuTorch",),
}
Run = Callable[[Path], subprocess.CompletedProcess[str]]


def unpacked(suite: str, package: str, keep: str = "") -> Path:
    """A package of a Debian release, unpacked once for all runs."""
    root = toolchain.toolchain_root()
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / f"{package}.lock"):
        debian.unpack(suite, package, root / package, keep)
    return root / package


def swift_frontend(work: Path) -> tuple[list[str | Path], list[str | Path]]:
    """The compiler, and the options that every call of it takes."""
    swift, headers = unpacked("trixie", "swiftlang"), unpacked("trixie", "libc6-dev")
    own = swift / "usr" / "libexec" / "swift" / "lib"
    libraries = [own / "swift" / "linux", own / "swift" / "host", own / "swift" / "host" / "compiler", own]
    path = os.pathsep.join(map(str, [*libraries, swift / "usr" / "lib" / "x86_64-linux-gnu"]))
    loader = [swift / "lib64" / "ld-linux-x86-64.so.2", "--library-path", path]
    frontend = [*loader, swift / "usr" / "libexec" / "swift" / "bin" / "swift-frontend", "-frontend"]
    return frontend, ["-resource-dir", own / "swift", "-sdk", headers, "-module-cache-path", work / "cache", "-I", work]


def compiled_swift(snippet: Path, target: str, work: Path) -> Run:
    """Check the snippet against the modules that it imports, and return how to run all of it as one program."""
    frontend, common = swift_frontend(work)
    for module in MODULES[target]:
        source, made = FRAMEWORKS / f"{module}.swift", work / f"{module}.swiftmodule"
        options = ["-emit-module", "-parse-as-library", "-module-name", module, source, "-o", made]
        subprocess.run([*frontend, *options, *common], check=True)
    subprocess.run([*frontend, "-typecheck", "-warnings-as-errors", snippet, *common], check=True)
    parts = [*(FRAMEWORKS / f"{module}.swift" for module in MODULES[target]), snippet, FRAMEWORKS / "main.swift"]
    together = "\n".join(part.read_text(encoding="utf-8") for part in parts)
    program = work / "all.swift"
    program.write_text(re.sub(rf"^import ({'|'.join(MODULES[target])})$", "", together, flags=re.MULTILINE))
    return interpreted(program, frontend, common)


def swift_program(decoder: Path, work: Path) -> Run:
    """Check a decoder and return how to let it hold itself to what is stored."""
    work.mkdir()
    frontend, common = swift_frontend(work)
    subprocess.run([*frontend, "-typecheck", "-warnings-as-errors", decoder, *common], check=True)
    program = work / "all.swift"
    main = FRAMEWORKS.joinpath("main.swift").read_text().replace("checkGolden", "checkDecoder")
    program.write_text(f"{decoder.read_text(encoding='utf-8')}\n{main}")
    return interpreted(program, frontend, common)


def interpreted(program: Path, frontend: list[str | Path], common: list[str | Path]) -> Run:
    def run(bundle: Path) -> subprocess.CompletedProcess[str]:
        command = [*frontend, "-interpret", program, *common, "--", bundle]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return run


def compiled_kotlin(snippet: Path, target: str, work: Path) -> Run:
    framework = {"onnx": "onnxruntime.kt", "executorch": "executorch.kt"}[target]
    return kotlin([snippet, FRAMEWORKS / framework, FRAMEWORKS / "Main.kt"], work)


def kotlin_program(decoder: Path, work: Path) -> Run:
    """Compile a decoder and return how to let it hold itself to what is stored."""
    work.mkdir()
    main = work / "Main.kt"
    main.write_text(FRAMEWORKS.joinpath("Main.kt").read_text().replace("checkGolden", "checkDecoder"))
    return kotlin([decoder, main], work)


def kotlin(sources: list[Path], work: Path) -> Run:
    if shutil.which("java") is None:
        debian.install({"java": "default-jre-headless"})
    jars = unpacked("bookworm", "kotlin", "usr/share/java") / "usr" / "share" / "java"
    libraries = os.pathsep.join(str(jars / f"{name}.jar") for name in ("kotlin-stdlib", "kotlin-stdlib-jdk7"))
    compiler = [jars / "kotlin-compiler.jar", *(jar for jar in sorted(jars.glob("*.jar")) if "kotlin" not in jar.name)]
    options = ["-no-stdlib", "-no-reflect", "-cp", libraries, "-d", work / "classes", *sources]
    main = "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler"
    subprocess.run(["java", "-cp", os.pathsep.join(map(str, compiler)), main, *options], check=True)

    def run(bundle: Path) -> subprocess.CompletedProcess[str]:
        command = ["java", "-cp", os.pathsep.join([str(work / "classes"), libraries]), "MainKt", bundle]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return run


COMPILERS = {KOTLIN: compiled_kotlin, SWIFT: compiled_swift}


def answer(bundle: Path, golden: Golden) -> Path:
    """Let the artifact's own runtime answer, and leave that where the stand-in finds it."""
    stored = golden.input
    values = np.fromfile(bundle / stored.file, {"float32": "<f4", "uint8": "u1"}[stored.dtype]).reshape(stored.shape)
    if stored.dtype == "uint8":
        values = np.ascontiguousarray(values[..., 2::-1].transpose(2, 0, 1)[None])
    with open_session(bundle / golden.artifact.file) as session:
        answers = session.run(values)[-len(golden.outputs) :]
    for output, given in zip(golden.outputs, answers, strict=True):
        given.astype("<f4").tofile(bundle / f"answer.{output.name}")
    return bundle / f"answer.{golden.outputs[0].name}"


@pytest.mark.parametrize(
    ("target", "snippet"),
    [("onnx", KOTLIN), ("onnx", SWIFT), ("executorch", KOTLIN), ("executorch", SWIFT), ("coreml", SWIFT)],
)
def test_a_snippet_runs(bundles: Mapping[str, Path], tmp_path: Path, target: str, snippet: str) -> None:
    bundle = Path(shutil.copytree(bundles[target], tmp_path / "bundle"))
    golden = golden_in(bundle)
    given = answer(bundle, golden)
    run = COMPILERS[snippet](bundle / snippet, target, tmp_path)
    ran = run(bundle)
    assert ran.returncode == 0, ran.stderr
    seen = golden.input.name
    assert (bundle / f"seen.{seen}").read_bytes() == (bundle / "input.bin").read_bytes()
    if target != "coreml":
        assert (bundle / f"shape.{seen}").read_text() == " ".join(map(str, golden.input.shape))
    values = np.fromfile(given, "<f4")
    for wrong in (values * np.float32(1.001), values[:-1], np.full_like(values, np.nan)):
        wrong.tofile(given)
        assert run(bundle).returncode != 0


def test_a_classifier_is_read_by_its_labels(bundles: Mapping[str, Path], tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(bundles["coreml"], tmp_path / "bundle"))
    golden = golden_in(bundle)
    expected = np.fromfile(bundle / "expected.0.bin", "<f4")
    labels = ['say "cheese"', "\\(boom)", "$dog", *(f"class {index}" for index in range(3, len(expected)))]
    (output,) = golden.outputs
    classifier = replace(golden, labels=tuple(labels), outputs=(replace(output, name="probs", by_label=True),))
    snippet = bundle / SWIFT
    snippet.write_text(render("coreml.swift", classifier), encoding="utf-8")
    run = compiled_swift(snippet, "coreml", tmp_path)
    for order, code in ((range(len(labels)), 0), (reversed(range(len(labels))), 0), (range(1, len(labels)), 1)):
        chosen = list(order)
        (bundle / "labels.probs").write_text("\n".join(labels[index] for index in chosen))
        expected[chosen].tofile(bundle / "answer.probs")
        ran = run(bundle)
        assert ran.returncode == code, ran.stderr


@pytest.mark.parametrize("snippet", [KOTLIN, SWIFT])
def test_every_output_is_compared(bundles: Mapping[str, Path], tmp_path: Path, snippet: str) -> None:
    bundle = Path(shutil.copytree(bundles["onnx"], tmp_path / "bundle"))
    golden = golden_in(bundle)
    (output,) = golden.outputs
    several = replace(golden, outputs=tuple(replace(output, name=name) for name in ("first", "last")))
    (bundle / snippet).write_text(render(f"onnx{Path(snippet).suffix}", several), encoding="utf-8")
    run = COMPILERS[snippet](bundle / snippet, "onnx", tmp_path)
    right = (bundle / output.file).read_bytes()
    for answers, code in (((right, right), 0), ((right, bytes(len(right))), 1), ((bytes(len(right)), right), 1)):
        for name, values in zip(("first", "last"), answers, strict=True):
            (bundle / f"answer.{name}").write_bytes(values)
        ran = run(bundle)
        assert ran.returncode == code, ran.stderr

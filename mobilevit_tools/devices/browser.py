"""`browser`: ONNX Runtime's WebAssembly build in headless Chromium. Everything stays on this machine's loopback."""

from __future__ import annotations

import json
import os
import queue
import secrets
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from time import monotonic
from types import MappingProxyType, TracebackType
from typing import Self

from mobilevit_tools.devices import process, protocol, runner, toolchain
from mobilevit_tools.devices._base import Device, Readiness, RunRequest, RunResult, check_target
from mobilevit_tools.errors import BadInputError, DeviceError, MissingDependencyError, UsageError

NPM = (("onnxruntime-web", "1.30.0"),)
"""The packages of npm that it needs, and their versions."""
_LIBRARY = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
_TYPES: Mapping[str, str] = MappingProxyType(
    {".html": "text/html", ".mjs": "text/javascript", ".wasm": "application/wasm", ".json": "application/json"}
)
_ANSWERS = ("output", "report", "refused", "failed")
_MAX_ANSWER_BYTES = 1 << 28
_POLL_S = 0.2
_OPTIONS = (
    "--headless=new",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-sync",
    "--no-default-browser-check",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)


class BrowserDevice(Device):
    """A fresh headless Chromium for each measurement, with a profile of its own that goes with it."""

    name = "browser"
    is_this_machine = True

    def measure(self, request: RunRequest) -> RunResult:
        """Run the artifact in a page; see `Device.measure`."""
        if request.per_op:
            raise UsageError("The browser reports no operator times.", hint="Use host, adb or ssh for operator times.")
        check_target(self.name, request.artifact)
        if request.inputs.dtype.name not in protocol.DTYPES or request.inputs.ndim == 0:
            raise BadInputError(f"The browser takes no {request.inputs.dtype} inputs.")
        chromium, library = find_chromium(), find_library()
        names = ("warmup", "warmup_s", "iterations", "seconds", "threads")
        settling = None if request.settling is None else asdict(request.settling)
        settings = {**{name: getattr(request, name) for name in names}, "settling": settling}
        with TemporaryDirectory(prefix="mvt-") as folder:
            work = Path(folder)
            protocol.write_tensor(work / "input.bin", request.inputs)
            (work / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
            files = {name: library / name for name in _LIBRARY}
            files |= {name: work / name for name in ("input.bin", "settings.json")}
            files |= {"model": request.artifact, "index.html": runner.SOURCES / "browser_runner.html"}
            answers, cpu_seconds = self._answers(chromium, work, files, request.timeout_s)
            if "refused" in answers:
                reason = answers["refused"].decode(errors="replace").rstrip(".")
                raise BadInputError(f"{request.artifact.name} does not run: {reason}.", code="not_runnable")
            if "failed" in answers:
                reason = answers["failed"].decode(errors="replace").rstrip(".")
                raise DeviceError(f"The page in the browser failed: {reason}.", code="runner_failed")
            (work / "output.bin").write_bytes(answers["output"])
            report = protocol.parse_report(
                answers["report"].decode(errors="replace"),
                warmup=request.warmup,
                iterations=request.iterations,
                at_least=True,
            )
            return RunResult(
                device=f"browser ({_version(chromium)})",
                outputs=protocol.read_tensor(work / "output.bin"),
                timing=report.timing,
                planned_bytes=None,
                maxrss_bytes=None,
                threads=report.threads,
                cpu_seconds=cpu_seconds,
            )

    def _answers(
        self, chromium: Path, work: Path, files: Mapping[str, Path], timeout_s: float
    ) -> tuple[dict[str, bytes], float | None]:
        """Show the page, and collect what it posts until it has said everything; also tell the browser's CPU time."""
        answers: dict[str, bytes] = {}
        with _serve(files) as (address, posted), _browse(chromium, work / "profile", address) as browser:
            end = monotonic() + timeout_s
            while not answers.keys() & {"refused", "failed"} and not answers.keys() >= {"output", "report"}:
                try:
                    name, body = posted.get(timeout=_POLL_S)
                    answers[name] = body
                except queue.Empty:
                    if browser.poll() is not None:
                        raise DeviceError(
                            f"The browser ended with status {browser.returncode} before the measurement did.",
                            hint=f"Test it with: {chromium} --headless=new --dump-dom about:blank",
                            code="runner_crashed",
                        ) from None
                    if monotonic() > end:
                        raise DeviceError(
                            f"The browser did not end within {timeout_s:g} s and was stopped.",
                            hint="Try `mvt profile --rigor quick`, which runs fewer inferences.",
                            code="device_hangs",
                        ) from None
            return answers, process.session_seconds(browser.pid)

    def probe(self) -> Readiness:
        """Ready where Chromium and ONNX Runtime's web build are."""
        try:
            chromium = find_chromium()
            find_library()
        except MissingDependencyError as error:
            return Readiness(self.name, ready=False, detail=error.message, remedy=error.hint)
        return Readiness(self.name, ready=True, detail=f"{_version(chromium)}, headless.")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Nothing outlives a measurement."""


def find_chromium() -> Path:
    """Return Chromium.

    Raises:
        MissingDependencyError: It is not installed.
    """
    return toolchain.find_program("chromium", "browser")


def find_library() -> Path:
    """Return the folder of ONNX Runtime's web build.

    Raises:
        MissingDependencyError: It was not fetched.
    """
    folder = toolchain.toolchain_root() / "onnxruntime-web" / "dist"
    if not folder.is_dir():
        raise MissingDependencyError("ONNX Runtime Web is not installed.", hint=toolchain.remedy("browser"))
    return folder


def _version(chromium: Path) -> str:
    words = process.run([chromium, "--version"], timeout_s=60).stdout.split()
    return " ".join(words[:2]) or "Chromium"


@contextmanager
def _serve(files: Mapping[str, Path]) -> Iterator[tuple[str, queue.Queue[tuple[str, bytes]]]]:
    """Serve the files on loopback under an address that cannot be guessed; yield it and what is posted there."""
    root = f"/{secrets.token_urlsafe(24)}/"
    posted: queue.Queue[tuple[str, bytes]] = queue.Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self._name()
            if name not in files:
                self.send_error(404)
                return
            body = files[name].read_bytes()
            self.send_response(200)
            self.send_header("Content-Type", _TYPES.get(Path(name).suffix, "application/octet-stream"))
            self.send_header("Content-Length", str(len(body)))
            # what a page needs before it may use threads
            self.send_header("Cross-Origin-Opener-Policy", "same-origin")
            self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            name = self._name()
            length = int(self.headers.get("Content-Length", 0))
            if name not in _ANSWERS or length > _MAX_ANSWER_BYTES:
                self.send_error(404)
                return
            posted.put((name, self.rfile.read(length)))
            self.send_response(204)
            self.end_headers()

        def _name(self) -> str:
            """What is asked for by the address that cannot be guessed; nothing for another."""
            return self.path.removeprefix(root) if self.path.startswith(root) else ""

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(_POLL_S,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}{root}index.html", posted
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def _browse(chromium: Path, profile: Path, address: str) -> Iterator[subprocess.Popen[bytes]]:
    """Show a page for as long as the block lasts."""
    root = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium's sandbox refuses to start for root
    command: list[str | Path] = [chromium, *_OPTIONS, *root, f"--user-data-dir={profile}", address]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as browser:
        try:
            yield browser
        finally:
            process.kill_group(browser)


def open_device(argument: str | None) -> BrowserDevice:
    """Return the browser.

    Raises:
        UsageError: ``argument`` is not None.
    """
    if argument is not None:
        raise UsageError("browser takes no argument.", hint="Use --device browser.")
    return BrowserDevice()


def probe() -> tuple[Readiness, ...]:
    """Tell whether there is a browser to measure in."""
    return (BrowserDevice().probe(),)

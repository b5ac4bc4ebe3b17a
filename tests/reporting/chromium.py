"""Drive the headless Chromium that `mvt` measures in, by its own protocol over a pipe."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mobilevit_tools.devices.browser import _OPTIONS, find_chromium


class Page:
    """A page that was opened.

    Attributes:
        requests: Every address that it asked for.
        complaints: What went to the console, what was thrown, and what its policy refused.
    """

    def __init__(self, commands: int, answers: int) -> None:
        self._commands = commands
        self._answers = answers
        self._received = b""
        self._number = 0
        self._events: list[dict[str, Any]] = []
        self._session: str | None = None
        self.requests: list[str] = []
        self.complaints: list[str] = []

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send one command and return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            self._note(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def open(self, address: str) -> None:
        """Open a page and wait until all of it is there."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Page.navigate", url=address)
        while (event := self._next()).get("method") != "Page.loadEventFired":
            self._note(event)

    def run(self, script: str) -> Any:
        """Evaluate an expression in the page."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        """Press and release a key, as a keyboard does."""
        code = {"Enter": 13, "Tab": 9}[key]
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **text)

    def type(self, text: str) -> None:
        """Type into what has the focus."""
        self.call("Input.insertText", text=text)

    def resize(self, width: int, height: int, *, phone: bool = False) -> None:
        """Show the page on a screen of that size."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)

    def prefer(self, scheme: str) -> None:
        """Prefer ``dark`` or ``light``."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def screenshot(self) -> bytes:
        """Return the window as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot")["data"])

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._received:
            chunk = os.read(self._answers, 1 << 16)
            assert chunk, "the browser ended"
            self._received += chunk
        message, _, self._received = self._received.partition(b"\0")
        return json.loads(message)

    def _note(self, event: dict[str, Any]) -> None:
        parameters = event.get("params", {})
        match event.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(parameters["request"]["url"])
            case "Runtime.exceptionThrown" | "Runtime.consoleAPICalled" | "Log.entryAdded":
                self.complaints.append(json.dumps(parameters))


@contextmanager
def chromium(folder: Path) -> Iterator[Callable[[str], Page]]:
    """Start a browser with a profile in ``folder``; yield a function that opens an address in a page of its own."""
    to_browser, commands = _high(os.pipe())
    answers, from_browser = _high(os.pipe())
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    program = str(find_chromium())
    browser = os.posix_spawn(
        program,
        [program, *_OPTIONS, *root, "--remote-debugging-pipe", f"--user-data-dir={folder}", "about:blank"],
        os.environ,
        file_actions=[
            *((os.POSIX_SPAWN_OPEN, stream, os.devnull, os.O_RDWR, 0) for stream in range(3)),
            (os.POSIX_SPAWN_DUP2, to_browser, 3),  # where Chromium reads its commands
            (os.POSIX_SPAWN_DUP2, from_browser, 4),  # and where it answers
        ],
        setsid=True,
    )
    os.close(to_browser)
    os.close(from_browser)

    def opened(address: str) -> Page:
        page = Page(commands, answers)
        page.open(address)
        return page

    try:
        yield opened
    finally:
        os.killpg(browser, signal.SIGKILL)
        os.waitpid(browser, 0)
        os.close(commands)
        os.close(answers)


def _high(pipe: tuple[int, int]) -> tuple[int, int]:
    """Move a pipe's ends out of the way of the numbers that the browser uses."""
    one, other = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in pipe)
    for end in pipe:
        os.close(end)
    return one, other

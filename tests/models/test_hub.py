"""Checkpoints are fetched over HTTP from a server that answers like the hub, and every refusal is one sentence."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mobilevit_tools.errors import BadInputError, ExitCode, MissingDependencyError, MvtError
from mobilevit_tools.models import hub

pytest.importorskip("huggingface_hub", reason="the `hub` extra is not installed")

COMMITS = {"main": "a" * 40, "v2": "b" * 40}
CONTENT = {"main": b"weights of main", "v2": b"weights of v2"}


@dataclass
class Hub:
    url: str
    requests: list[str] = field(default_factory=list)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub on loopback with the file ``weights/model.pth`` in ``someone/care``, an own cache, and no other network.

    ``someone/hasty`` is the same, and hangs up before the end of a file.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.answer()

        def answer(self) -> None:
            hub_.requests.append(f"{self.command} {self.path}")
            parts = self.path.split("?")[0].strip("/").split("/")
            if parts[:2] == ["someone", "gated"]:
                return self.refuse(403, "GatedRepo")
            if parts[:2] == ["someone", "broken"]:
                return self.refuse(400, "")
            if parts[:2] not in (["someone", "care"], ["someone", "hasty"]) or parts[2] != "resolve":
                return self.refuse(401, "RepoNotFound")
            revision = next((name for name, commit in COMMITS.items() if parts[3] in (name, commit)), None)
            if revision is None:
                return self.refuse(404, "RevisionNotFound")
            if parts[4:] != ["weights", "model.pth"]:
                return self.refuse(404, "EntryNotFound")
            body = CONTENT[revision]
            self.send_response(200)
            self.send_header("X-Repo-Commit", COMMITS[revision])
            self.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body[:-3] if parts[1] == "hasty" else body)
            return None

        def refuse(self, status: int, code: str) -> None:
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub_ = Hub(f"http://127.0.0.1:{listener.server_port}")
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub_.url)
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", hub_.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    yield hub_
    listener.shutdown()
    thread.join()
    listener.server_close()


def refusal(address: str) -> MvtError:
    with pytest.raises(BadInputError) as caught:
        hub.download(address)
    assert caught.value.exit_code is ExitCode.BAD_INPUT
    assert "\n" not in caught.value.message
    return caught.value


def test_a_file_is_fetched_once(server: Hub) -> None:
    path = hub.download("hf://someone/care/weights/model.pth")
    assert path.read_bytes() == CONTENT["main"]
    assert hub.download("hf://someone/care/weights/model.pth") == path
    assert [request for request in server.requests if "/resolve/" in request and "GET" in request] == [
        "GET /someone/care/resolve/main/weights/model.pth"
    ]


def test_a_revision_is_honoured(server: Hub) -> None:
    assert hub.download("hf://someone/care@v2/weights/model.pth").read_bytes() == CONTENT["v2"]
    assert hub.download(f"hf://someone/care@{COMMITS['v2']}/weights/model.pth").read_bytes() == CONTENT["v2"]


@pytest.mark.parametrize(
    ("address", "said", "code"),
    [
        ("hf://someone/care/other.pth", "someone/care has no file other.pth", "hub_no_file"),
        ("hf://someone/care@v3/weights/model.pth", "someone/care has no revision v3", "hub_unavailable"),
        ("hf://someone/else/model.pth", "there is no repository someone/else, or it is private", "hub_unavailable"),
        ("hf://someone/gated/model.pth", "someone/gated is gated", "hub_unavailable"),
        ("hf://someone/broken/model.pth", "the Hub is not reachable", "hub_unreachable"),
    ],
)
def test_what_the_hub_lacks_is_named(server: Hub, address: str, said: str, code: str) -> None:
    error = refusal(address)
    assert said in error.message
    assert error.error_code == code


@pytest.mark.parametrize(
    "address",
    [
        "hf://someone/care/../../../etc/passwd",
        "hf://someone/care/weights/../../model.pth",
        "hf://someone/care//etc/passwd",
        "hf://someone/care/..\\model.pth",
        "hf://../care/model.pth",
        "hf://someone/../model.pth",
        "hf://someone/care",
        "hf://someone/care/",
        "hf://someone/care@/model.pth",
        "hf://model.pth",
    ],
)
def test_addresses_that_leave_the_repository_or_name_no_file_never_reach_the_network(server: Hub, address: str) -> None:
    refusal(address)
    assert server.requests == []


def test_an_unreachable_hub_is_said(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    error = refusal("hf://someone/care/weights/model.pth")
    assert "is not reachable" in error.message
    assert error.error_code == "hub_unreachable"
    assert server.requests == []


@pytest.mark.usefixtures("server")
def test_a_hub_that_hangs_up_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)  # huggingface_hub waits between its attempts
    error = refusal("hf://someone/hasty/weights/model.pth")
    assert error.error_code == "hub_unavailable"
    assert error.message.startswith("hf://someone/hasty/weights/model.pth cannot be downloaded: ")


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (RuntimeError("407 Proxy Authentication Required.\nmore"), "downloaded: 407 Proxy Authentication Required."),
        (TimeoutError(), "downloaded: TimeoutError."),
        (RuntimeError("\n"), "downloaded: RuntimeError."),
    ],
)
def test_whatever_the_transport_raises_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, raised: Exception, said: str
) -> None:
    def fail(*_: object, **__: object) -> str:
        raise raised

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fail)
    error = refusal("hf://someone/care/weights/model.pth")
    assert error.message.endswith(said)
    assert error.error_code == "hub_unavailable"


def test_without_the_extra_the_command_to_install_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "find_spec", lambda _name: None)
    with pytest.raises(MissingDependencyError) as caught:
        hub.download("hf://someone/care/model.pth")
    assert caught.value.hint == "pip install 'mobilevit-tools[hub]'"
    assert caught.value.exit_code is ExitCode.MISSING_DEPENDENCY


def test_the_endpoint_comes_from_the_environment(server: Hub, tmp_path: Path) -> None:
    script = "from mobilevit_tools.models import hub; print(hub.download('hf://someone/care/weights/model.pth'))"
    environment = {**os.environ, "HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "home")}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()).read_bytes() == CONTENT["main"]

"""The server as a real process, with real workers, from its start to its end."""

from __future__ import annotations

import ast
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.models import ECHO_HANDLER
from tests.support.processes import eventually, free_port, processes_of, tail

LIMIT_S = 60.0
# Says that it has begun, and answers when it may.
PATIENT_HANDLER = """
import time
from pathlib import Path


def handle(data, context):
    if data is None:
        return None
    Path("began").touch()
    for _ in range(1000):
        if Path("go").exists():
            break
        time.sleep(0.02)
    return [{"answer": "late"}]
"""
# Is loaded when it may be.
SLOW_HANDLER = f"""
import time
from pathlib import Path

while not Path("go").exists():
    time.sleep(0.02)
{ECHO_HANDLER}
"""
STARTUP = "model_store={store}\nload_models=ALL\n"


def add(folder: Path, handler: str = ECHO_HANDLER) -> Path:
    """Makes a model's folder."""
    folder.mkdir(parents=True)
    (folder / "model_handler.py").write_text(handler)
    (folder / "weights.txt").write_text(folder.name)
    return folder


class Process:
    """`python -m modelplex.server` with a configuration of its own, in `folder`."""

    def __init__(self, folder: Path, settings: str) -> None:
        self.folder = folder
        self.store = folder / "store"
        self.port = free_port()
        config = folder / "config.properties"
        text = (
            f"inference_address=http://127.0.0.1:{self.port}\n"
            f"management_address=http://127.0.0.1:{self.port}\n"
            "default_workers_per_model=1\ndefault_service_handler=model_handler.py:handle\n"
        )
        config.write_text(text + settings.format(store=self.store, folder=folder))
        logs = {"LOG_LOCATION": str(folder / "logs"), "METRICS_LOCATION": str(folder / "logs")}
        self.log = folder / "output.log"
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "modelplex.server", "--mms-config", str(config)],
                cwd=folder,
                env={**os.environ, **logs},
                stdout=output,
                stderr=output,
            )

    def call(self, method: str, target: str, body: bytes = b"", port: int = 0) -> tuple[int, Any]:
        """Status and JSON of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=LIMIT_S)
        try:
            connection.request(method, target, body)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def metrics(self) -> str:
        """What Prometheus reads."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=LIMIT_S) as r:
            return str(r.read(), "utf-8")

    def ping(self) -> int:
        """Status of a ping; 0 if nobody listens."""
        try:
            status, _ = self.call("GET", "/ping")
        except OSError:
            return 0
        return status

    def wait_until_healthy(self) -> None:
        eventually(lambda: self.ping() == 200 or self.process.poll() is not None, LIMIT_S)
        assert self.process.poll() is None, tail(self.log)

    def stop(self) -> int:
        """SIGTERM and the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(LIMIT_S)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(LIMIT_S)
        eventually(lambda: not processes_of(self.folder), LIMIT_S, "workers are gone")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    """A maker of server processes; what is left of them ends after the test."""
    started: list[Process] = []

    def make(settings: str = "", **handlers: str) -> Process:
        folder = tmp_path / f"server{len(started)}"
        (folder / "store").mkdir(parents=True)
        for name, handler in handlers.items():
            add(folder / "store" / name, handler)
        started.append(Process(folder, settings))
        return started[-1]

    yield make
    for process in started:
        process.end()


def test_what_it_needs() -> None:
    """Two packages beside the standard library, so that any container can have it; zlib-ng is used
    where it is there, and not missed elsewhere.
    """
    code = (
        "import sys\n"
        "sys.modules['zlib_ng'] = None\n"
        "import modelplex.server.app\n"
        "print({n.partition('.')[0] for n, m in sys.modules.items()"
        " if '-packages' in (getattr(m, '__file__', '') or '')})"
    )
    run = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
    )
    found = {name for name in ast.literal_eval(run.stdout) if not name.startswith("_")}
    assert found == {"httptools", "uvloop"}


def test_the_life_of_models(start: Any) -> None:
    """Load, describe, list, invoke, unload; SIGTERM: exit status 0 and no process left."""
    server = start("multi_model=true\nmodel_store=/\n")
    server.wait_until_healthy()
    folder = add(server.folder / "elsewhere")
    target = f"/models?model_name=m&url={folder}"
    assert server.call("POST", target) == (200, {"status": "Workers scaled"})
    assert server.call("POST", target)[0] == 409
    assert server.call("GET", "/models")[1]["models"][0]["modelName"] == "m"
    described = server.call("GET", "/models/m")[1]
    assert described["status"] == "READY"
    assert described["workers"][0]["memoryUsage"] > 0
    for path in ("/models/m/invoke", "/predictions/m", "/models/m/invoke?x=1"):
        status, answer = server.call("POST", path, b"hello")
        assert (status, answer["body"]) == (200, "hello")
    status, answer = server.call("POST", "/predictions/m", b"raise")
    assert status == 503
    assert answer["message"] == "Prediction failed: ValueError: the handler was asked to raise"
    assert server.call("POST", "/predictions/m", b"exit")[0] == 500
    assert server.call("DELETE", "/models/m") == (200, {"status": 'Model "m" unregistered'})
    assert server.call("DELETE", "/models/m")[0] == 404
    assert server.stop() == 0
    assert not processes_of(server.folder)


def test_start_up_models(start: Any) -> None:
    """The ping is good when they are loaded, and /invocations finds the only one."""
    server = start(STARTUP, one=ECHO_HANDLER)
    server.wait_until_healthy()
    assert server.call("POST", "/invocations", b"x")[1]["weights"] == "one"
    assert server.call("GET", "/models/one")[1]["loadedAtStartup"] is True


def test_a_start_up_model_that_is_being_loaded(start: Any) -> None:
    """It is there whenever somebody can ask, and requests wait for it; the ping is not good yet."""
    server = start(STARTUP, one=SLOW_HANDLER)
    eventually(lambda: server.ping() != 0, LIMIT_S, "it listens")
    assert server.ping() == 503
    status, described = server.call("GET", "/models/one")
    assert (status, described["status"]) == (200, "LOADING")
    answers: list[tuple[int, Any]] = []
    caller = threading.Thread(
        target=lambda: answers.append(server.call("POST", "/invocations", b"x"))
    )
    caller.start()
    waits = 'modelplex_server_model_queued{model="one"} 1'
    eventually(lambda: waits in server.metrics(), LIMIT_S, "the request waits")
    (server.store / "one" / "go").touch()
    caller.join(LIMIT_S)
    assert answers[0][1]["weights"] == "one"
    server.wait_until_healthy()


def test_sigterm_lets_requests_finish(start: Any) -> None:
    """A request under way gets its answer, and nothing new is accepted."""
    server = start(STARTUP, one=PATIENT_HANDLER)
    folder = server.store / "one"
    server.wait_until_healthy()
    answers: list[tuple[int, Any]] = []
    caller = threading.Thread(
        target=lambda: answers.append(server.call("POST", "/predictions/one"))
    )
    caller.start()
    eventually((folder / "began").exists, LIMIT_S, "the request has begun")
    server.process.send_signal(signal.SIGTERM)
    eventually(lambda: server.ping() == 0, LIMIT_S, "nothing new is accepted")
    (folder / "go").touch()
    caller.join(LIMIT_S)
    assert answers == [(200, {"answer": "late"})]
    assert server.process.wait(LIMIT_S) == 0
    assert not processes_of(server.folder)


def test_a_request_that_does_not_end(start: Any) -> None:
    """Is cut off when the time to drain is over; no process stays."""
    server = start(STARTUP + "drain_timeout_s=0.2\n", one=PATIENT_HANDLER)
    server.wait_until_healthy()
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"POST /predictions/one HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")
        eventually((server.store / "one" / "began").exists, LIMIT_S, "the request has begun")
        assert server.stop() == 0
        assert client.recv(1000) == b""
    assert not processes_of(server.folder)


def test_a_stop_while_it_starts(start: Any) -> None:
    """Whenever the signal comes, the exit status is 0 and nothing stays."""
    server = start(STARTUP, one=ECHO_HANDLER, two=ECHO_HANDLER)
    eventually(lambda: server.ping() != 0, LIMIT_S, "it listens")
    assert server.stop() == 0
    assert not processes_of(server.folder)


def test_a_start_up_model_that_cannot_be_loaded(start: Any) -> None:
    """The server runs, says that it is not well, and serves the others."""
    server = start(STARTUP, good=ECHO_HANDLER, bad="raise ValueError('no')\n")
    eventually(lambda: server.ping() != 0, LIMIT_S, "it listens")
    eventually(lambda: server.call("GET", "/ping")[1]["status"] == "Unhealthy", LIMIT_S)
    assert server.ping() == 503
    assert server.call("POST", "/predictions/good", b"x")[0] == 200
    assert server.call("GET", "/models/bad")[0] == 404


def test_two_addresses(start: Any) -> None:
    """Each has its own API; both answer pings; a Unix socket will do."""
    server = start(STARTUP + "management_address=unix:{folder}/management.sock\n", one=ECHO_HANDLER)
    server.wait_until_healthy()
    assert server.call("POST", "/predictions/one", b"x")[0] == 200
    assert server.call("GET", "/models")[0] == 404
    management = http.client.HTTPConnection("localhost")
    management.sock = socket.socket(socket.AF_UNIX)
    management.sock.connect(str(server.folder / "management.sock"))
    management.request("GET", "/models")
    document = json.loads(management.getresponse().read())
    assert [model["modelName"] for model in document["models"]] == ["one"]
    management.close()
    assert server.stop() == 0
    assert not (server.folder / "management.sock").exists()


def test_https(start: Any) -> None:
    """With a certificate made at start, as nothing else is given."""
    pytest.importorskip("cryptography")
    port = free_port()
    server = start(STARTUP + f"inference_address=https://127.0.0.1:{port}\n", one=ECHO_HANDLER)
    server.wait_until_healthy()
    trusting = ssl._create_unverified_context()
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=LIMIT_S, context=trusting)
    connection.request("POST", "/predictions/one", b"x")
    assert json.loads(connection.getresponse().read())["weights"] == "one"
    connection.close()


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ("inference_address=nonsense\n", "'nonsense'"),
        (
            "inference_address=https://127.0.0.1:1\nmanagement_address=https://127.0.0.1:1\n"
            "private_key_file={folder}/no.pem\ncertificate_file={folder}/no.pem\n",
            "no.pem",
        ),
    ],
)
def test_what_cannot_start(start: Any, settings: str, why: str) -> None:
    """Says why in one line, with exit status 1."""
    server = start(settings)
    assert server.process.wait(LIMIT_S) == 1
    output = server.log.read_text()
    assert why in output
    assert "Traceback" not in output


def test_a_port_that_is_taken(start: Any) -> None:
    """Is named, with exit status 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = start(f"inference_address=http://127.0.0.1:{port}\n")
        assert server.process.wait(LIMIT_S) == 1
    assert f"cannot listen on http://127.0.0.1:{port}: " in server.log.read_text()

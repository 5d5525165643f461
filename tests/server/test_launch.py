"""`multi-model-server`: a server in the background or the foreground, found and stopped again."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

import modelplex
from modelplex.server.launch import NAMESPACE
from tests.support.processes import eventually, free_port, processes_of

COMMAND = [sys.executable, "-c", "from modelplex.server.launch import main; exit(main())"]
HANDLER = """
def handle(data, context):
    if data is None:
        return None
    return [bytes(data[0]["body"]).upper()]
"""
LIMIT_S = 120


class Launched:
    """A folder with settings, and what is run in it; `port` is the server's only one."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.pid_file = folder / ".model_server.pid"
        self.environ = {**os.environ, "TMPDIR": str(folder), "LOG_LOCATION": str(folder / "logs")}
        self.environ["METRICS_LOCATION"] = str(folder / "logs")
        self._runs = 0
        self.settings()

    def settings(self, *lines: str) -> None:
        """Write config.properties."""
        address = f"http://127.0.0.1:{self.port}"
        text = [f"inference_address={address}", f"management_address={address}"]
        text += ["default_service_handler=model_handler.py:handle", "decode_input_request=false"]
        text += ["default_workers_per_model=1", *lines]
        (self.folder / "config.properties").write_text("\n".join(text))

    def model(self, name: str) -> None:
        """Put a model into the folder that is the store."""
        (self.folder / "store" / name).mkdir(parents=True)
        (self.folder / "store" / name / "model_handler.py").write_text(HANDLER)

    def run(self, *options: str) -> subprocess.CompletedProcess[str]:
        """The command, until it returns; what a server in the background says goes to a file."""
        self._runs += 1
        with (self.folder / f"said{self._runs}").open("w+") as said:
            status = subprocess.call(
                [*COMMAND, *options],
                cwd=self.folder,
                env=self.environ,
                stdout=said,
                stderr=subprocess.STDOUT,
                timeout=LIMIT_S,
            )
            said.seek(0)
            return subprocess.CompletedProcess(options, status, said.read(), "")

    def begin(self, *options: str) -> subprocess.Popen[bytes]:
        """The command, going on."""
        return subprocess.Popen(
            [*COMMAND, *options], cwd=self.folder, env=self.environ, stderr=subprocess.DEVNULL
        )

    def ask(self, path: str, body: bytes | None = None) -> bytes:
        """The server's answer; OSError if there is none."""
        url = f"http://127.0.0.1:{self.port}{path}"
        request = urllib.request.Request(url, body, {"Content-Type": "text/plain"})
        with urllib.request.urlopen(request, timeout=LIMIT_S) as answer:
            found: bytes = answer.read()
            return found

    def is_ready(self) -> bool:
        """Whether the models of the start are loaded."""
        try:
            return bool(self.ask("/ping"))
        except OSError:
            return False

    @property
    def pid(self) -> int:
        """What the pid file says."""
        return int(self.pid_file.read_text())

    def answers(self) -> bool:
        """Whether somebody listens."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@pytest.fixture
def launched(tmp_path: Path) -> Iterator[Launched]:
    """Nothing of it may be left."""
    one = Launched(tmp_path)
    try:
        yield one
    finally:
        one.run("--stop")
        left = processes_of(tmp_path)
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        assert not left


def test_start_and_stop(launched: Launched) -> None:
    """--start returns when the server listens, and there is one at a time until --stop."""
    launched.model("a")
    store = str(launched.folder / "store")
    done = launched.run("--start", "--model-store", store, "--models", "one=a")
    assert done.returncode == 0, done.stdout
    assert launched.answers()
    words = Path(f"/proc/{launched.pid}/cmdline").read_bytes().decode().split("\0")
    assert words.count(NAMESPACE) == 1
    eventually(launched.is_ready, LIMIT_S)
    assert launched.ask("/models/one/invoke", b"hello") == b"HELLO"
    assert json.loads(launched.ask("/models"))["models"][0]["modelName"] == "one"

    again = launched.run()
    assert again.returncode == 1
    assert again.stdout.startswith("Model server is already running, please use")

    done = launched.run("--stop")
    assert (done.returncode, done.stdout) == (0, "Model server stopped.\n")
    assert not processes_of(launched.folder)
    assert launched.run("--stop").stdout == "Model server is not currently running.\n"


def test_two_addresses_of_other_kinds(launched: Launched) -> None:
    """--start waits for both: TLS with a certificate made at start, and a socket in a folder."""
    path = launched.folder / "management.sock"
    address = f"https://127.0.0.1:{launched.port}"
    launched.settings(f"inference_address={address}", f"management_address=unix:{path}")
    done = launched.run("--start")
    assert done.returncode == 0, done.stdout
    with socket.create_connection(("127.0.0.1", launched.port)) as inference:
        context = ssl._create_unverified_context()
        with context.wrap_socket(inference) as secure:
            secure.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            assert secure.recv(100).startswith(b"HTTP/1.1 200 OK")
    with socket.socket(socket.AF_UNIX) as management:
        management.connect(str(path))
        management.sendall(b"GET /models HTTP/1.0\r\n\r\n")
        assert management.recv(100).startswith(b"HTTP/1.1 200 OK")


def test_foreground(launched: Launched) -> None:
    """--foreground becomes the server, so that its signals are the server's own."""
    launched.pid_file.write_text(str(os.getpid()))  # a number that means somebody else by now
    process = launched.begin("--foreground")
    try:
        eventually(launched.answers, LIMIT_S)
        assert launched.pid == process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT_S) == 0
    assert launched.run("--stop").stdout == "Model server already stopped.\n"


def test_a_server_that_cannot_start_says_why(launched: Launched) -> None:
    """The port is taken: status 1, and nothing is left running."""
    with socket.create_server(("127.0.0.1", launched.port)):
        done = launched.run("--start")
    assert done.returncode == 1
    assert "Address already in use" in done.stdout
    assert "Model server did not start: exit status 1." in done.stdout
    assert not launched.pid_file.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--mms-config", "gone"), "--mms-config file not found: gone"),
        (("--log-config", "gone"), "--log-config file not found: gone"),
        (("--model-store", "gone"), "--model-store directory not found: gone"),
        (("--models", "a=b"), "--model-store is required to load a model locally: b"),
    ],
)
def test_wrong_options_are_one_line(
    options: tuple[str, ...], message: str, launched: Launched
) -> None:
    """As Multi Model Server says it; status 1."""
    done = launched.run("--start", *options)
    assert (done.returncode, done.stdout) == (1, message + "\n")


def test_a_bad_property_is_one_line(launched: Launched) -> None:
    """From the launcher, and from the server process where that is started by itself."""
    launched.settings("job_queue_size=many")
    message = "job_queue_size in config.properties: must be a whole number, not 'many'.\n"
    done = launched.run("--start")
    assert (done.returncode, done.stdout) == (1, message)
    alone = subprocess.run(
        [sys.executable, "-m", "modelplex.server"],
        cwd=launched.folder,
        env=launched.environ,
        capture_output=True,
        text=True,
    )
    assert (alone.returncode, alone.stderr) == (1, message)


def test_the_version(launched: Launched) -> None:
    """Ours, under our name."""
    assert launched.run("--version").stdout == f"modelplex {modelplex.__version__}\n"


def test_a_pid_file_that_is_a_link_is_not_followed(launched: Launched) -> None:
    """Anybody may put one into a temporary folder."""
    target = launched.folder / "precious"
    target.write_text("1")
    launched.pid_file.symlink_to(target)
    done = launched.run("--start")
    assert done.returncode == 1
    assert done.stdout.startswith("The pid file cannot be used: ")
    assert target.read_text() == "1"
    launched.pid_file.unlink()

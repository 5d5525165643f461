"""The one line of Python that starts the server, in both modes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modelplex.toolkit import environment, model_server
from tests.support.processes import eventually, free_port, processes_of

START = "from modelplex.toolkit import model_server; model_server.start_model_server({})"
INFERENCE = """
def model_fn(model_dir):
    return len(model_dir)

def input_fn(data, content_type):
    return data

def predict_fn(data, model):
    if data == "no memory":
        raise MemoryError
    return [data, model > 0]
"""


class Container:
    """A server process, as a container's entry point starts it."""

    def __init__(self, root: Path, variables: dict[str, str], handler: str = "") -> None:
        self.port = free_port()
        self.process = subprocess.Popen(
            [sys.executable, "-c", START.format(handler)],
            cwd=root,
            env={
                **os.environ,
                "SAGEMAKER_BASE_DIR": str(root),
                "SAGEMAKER_BIND_TO_PORT": str(self.port),
                "TMPDIR": str(root / "tmp"),
                **variables,
            },
            start_new_session=True,
        )
        eventually(lambda: self.ask("GET", "/ping")[0] == 200, what="/ping")

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, str]:
        """Status and body; status 0 where nobody listens. Texts are sent as CSV, else JSON."""
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        kind = "text/csv" if isinstance(body, str) else "application/json"
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            data=None if body is None else data,
            headers={"Content-Type": kind, **headers},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as answer:
            with answer:
                return answer.code, answer.read().decode()
        except OSError:
            return 0, ""

    def stop(self) -> int:
        """SIGTERM, as Docker sends it; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """The container's files; at the end no process of it is left."""
    (tmp_path / "tmp").mkdir()
    yield tmp_path
    eventually(lambda: not processes_of(tmp_path), what="the end of all processes")


@pytest.fixture
def start(root: Path) -> Iterator[Callable[..., Container]]:
    started: list[Container] = []

    def begin(variables: dict[str, str] | None = None, handler: str = "") -> Container:
        started.append(Container(root, variables or {}, handler))
        return started[-1]

    yield begin
    for container in started:
        if container.process.poll() is None:
            container.stop()


def write(root: Path, name: str, text: str) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))
    return path


def test_a_single_model_is_served(root, start):
    """The one in `model/`, by the default handler; SIGTERM ends the server."""
    write(root, "model/code/inference.py", INFERENCE)
    container = start()
    assert container.ask("POST", "/invocations", "x", Accept="text/csv") == (200, "x\nTrue\n")
    assert container.ask("POST", "/invocations", "no memory")[0] == 507
    assert container.ask("POST", "/invocations", "x", Accept="image/png")[0] == 406
    assert container.stop() == 0


def test_many_models_are_served(root, start):
    """The platform loads them; a handler of one's own may be named."""
    write(root, "models/a/model/code/inference.py", INFERENCE)
    failing = "def model_fn(model_dir): raise RuntimeError('std::bad_alloc')"
    write(root, "models/b/model/code/inference.py", failing)
    handler = write(
        root,
        "entry/my_handler.py",
        """
        from modelplex.toolkit.default_handler_service import DefaultHandlerService

        class HandlerService(DefaultHandlerService):
            pass
        """,
    )
    container = start({"SAGEMAKER_MULTI_MODEL": "true"}, repr(str(handler)))
    answers = {
        name: container.ask(
            "POST", "/models", {"model_name": name, "url": f"{root}/models/{name}/model"}
        )
        for name in "ab"
    }
    assert answers["a"][0] == 200
    assert answers["b"][0] == 507
    assert [m["modelName"] for m in json.loads(container.ask("GET", "/models")[1])["models"]] == [
        "a"
    ]
    assert container.ask("POST", "/models/a/invoke", "x") == (200, '["x", true]')
    assert container.stop() == 0


def test_the_variables_become_properties(monkeypatch):
    """Those that are set; a backslash is escaped as in Java."""
    monkeypatch.setenv("SAGEMAKER_BIND_TO_PORT", "9000")
    monkeypatch.setenv("SAGEMAKER_MAX_PAYLOAD_IN_MB", "1")
    monkeypatch.setenv("SAGEMAKER_MODEL_SERVER_WORKERS", "3")
    text = model_server.config_properties(environment.Environment(), "a\\b")
    assert text.splitlines() == [
        "enable_envvars_config=true",
        "decode_input_request=false",
        "default_service_handler=a\\\\b",
        "default_workers_per_model=3",
        "default_response_timeout=60",
        "inference_address=http://0.0.0.0:9000",
        "management_address=http://0.0.0.0:9000",
        "max_request_size=1048576",
    ]


def test_a_bad_variable_starts_nothing(root):
    """The line says which."""
    done = subprocess.run(
        [sys.executable, "-c", START.format("")],
        env={**os.environ, "SAGEMAKER_MAX_PAYLOAD_IN_MB": "lots", "TMPDIR": str(root / "tmp")},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert "SAGEMAKER_MAX_PAYLOAD_IN_MB is 'lots'" in done.stderr

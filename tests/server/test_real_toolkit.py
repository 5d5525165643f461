"""The unmodified inference toolkit 1.10.1 starts our server, and does not see the difference."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.toolkit import Container

pytestmark = pytest.mark.toolkit

HANDLER = """
from pathlib import Path


def weights():
    text = Path("weights.txt").read_text()
    if text == "huge":
        raise MemoryError("too large")
    return text


def handle(data, context):
    if data is None:
        return weights() and None
    return [weights().encode() + b" " + bytes(data[0]["body"])]


class Service:
    def initialize(self, context):
        self.weights = weights()

    def handle(self, data, context):
        return ["class " + self.weights]
"""
INFERENCE = """
import json
import os


def model_fn(model_dir):
    with open(os.path.join(model_dir, "weights.txt")) as file:
        return file.read()


def predict_fn(data, model):
    return {"weights": model, "data": data}
"""

Begin = Callable[..., Container]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    """A maker of containers; `begin(*arguments of start_model_server, **variables)`."""
    begun: list[Container] = []

    def run(*arguments: str, **variables: str) -> Container:
        begun.append(Container(tmp_path, *arguments, **variables))
        return begun[-1]

    yield run
    for each in begun:
        each.kill()


def put(folder: Path, weights: str) -> str:
    """A model in `folder`; its path."""
    folder.mkdir(parents=True)
    (folder / "weights.txt").write_text(weights)
    return str(folder)


def put_handler(folder: Path) -> str:
    """The handler of an image; its path."""
    path = folder / "opt" / "model_handler.py"
    path.parent.mkdir()
    path.write_text(HANDLER)
    return str(path)


def names(container: Container) -> list[str]:
    """The loaded models."""
    status, body = container.ask("GET", "/models")
    assert status == 200
    return [each["modelName"] for each in json.loads(body)["models"]]


def test_multi_model_mode(begin: Begin, tmp_path: Path) -> None:
    """The platform's calls from the first to the last, and 507 from both styles of handlers."""
    handler = put_handler(tmp_path)
    container = begin(f"{handler}:handle", SAGEMAKER_MULTI_MODEL="true")
    container.wait_until("/ping")
    good = {"model_name": "one", "url": put(tmp_path / "models" / "one" / "model", "w1")}
    huge = {"model_name": "two", "url": put(tmp_path / "models" / "two" / "model", "huge")}

    assert names(container) == []
    assert container.ask("POST", "/models", good)[0] == 200
    assert container.ask("POST", "/models", good)[0] == 409
    assert names(container) == ["one"]
    status, body = container.ask("GET", "/models/one")
    assert (status, json.loads(body)["modelUrl"]) == (200, good["url"])
    assert container.ask("POST", "/models/one/invoke", b'{"a":1}') == (200, b'w1 {"a":1}')
    for method, path in (
        ("GET", "/models/no"),
        ("DELETE", "/models/no"),
        ("POST", "/models/no/invoke"),
    ):
        assert container.ask(method, path)[0] == 404

    assert container.ask("POST", "/models", huge)[0] == 507
    assert container.ask("POST", "/models", {**huge, "handler": f"{handler}:Service"})[0] == 507
    assert names(container) == ["one"]
    as_class = {**good, "model_name": "three", "handler": f"{handler}:Service"}
    assert container.ask("POST", "/models", as_class)[0] == 200
    assert container.ask("POST", "/models/three/invoke", b"x") == (200, b"class w1")

    before = len(container.processes())
    assert container.ask("DELETE", "/models/three")[0] == 200
    assert len(container.processes()) < before
    assert names(container) == ["one"]
    container.stop()


def test_single_model_mode(begin: Begin, tmp_path: Path) -> None:
    """The model of SAGEMAKER_BASE_DIR is loaded at start; /ping says when it is ready."""
    put(tmp_path / "model", "only")
    container = begin(f"{put_handler(tmp_path)}:handle")
    container.wait_until("/ping")
    assert container.ask("POST", "/invocations", b"x") == (200, b"only x")
    assert names(container) == ["model"]
    container.stop()


def test_the_toolkits_own_handler_service(begin: Begin, tmp_path: Path) -> None:
    """With `code/inference.py` in the model, as most images have it; variables count."""
    code = Path(put(tmp_path / "model", "w")) / "code"
    code.mkdir()
    (code / "inference.py").write_text(INFERENCE)
    container = begin(SAGEMAKER_MODEL_SERVER_WORKERS="2")
    container.wait_until("/ping")
    status, body = container.ask("POST", "/invocations", {"a": [1]})
    assert (status, json.loads(body)) == (200, {"weights": "w", "data": {"a": [1]}})
    rows = json.loads(container.ask("GET", "/models/model")[1])["workers"]
    assert len(rows) == 2
    container.stop()

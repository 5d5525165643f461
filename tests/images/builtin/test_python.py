"""The built-in image `python`: the model's own functions, and the toolkit's codecs around them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy
import pytest

from modelplex.workers.errors import LoadFailed
from tests.images.builtin.conftest import Serve
from tests.support.builtin import Served

pytestmark = pytest.mark.frameworks

INFERENCE = """
import json, os

def model_fn(model_dir):
    with open(os.path.join(model_dir, "weights.json")) as file:
        return json.load(file)

def predict_fn(data, model):
    return data @ model["w"] + model["b"]
"""


def folder(root: Path) -> Path:
    """A linear model with code."""
    (root / "code").mkdir()
    (root / "code" / "inference.py").write_text(INFERENCE)
    (root / "weights.json").write_text('{"w": [1, 2], "b": 3}')
    return root


@pytest.fixture(scope="module")
def model(served: Serve, tmp_path_factory: pytest.TempPathFactory) -> Served:
    return served("python", folder(tmp_path_factory.mktemp("linear")))


def npy(rows: list[list[int]]) -> bytes:
    body = io.BytesIO()
    numpy.save(body, numpy.array(rows))
    return body.getvalue()


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ("[[1, 2], [3, 4]]", "application/json"),
        ("1,2\n3,4", "text/csv"),
        (npy([[1, 2], [3, 4]]), "application/x-npy"),
    ],
)
def test_every_content_type(model: Served, body: bytes | str, content_type: str) -> None:
    """In and out, as the toolkit reads and writes them."""
    assert model.ask(body, content_type).body in (b"[8, 14]", b"[8.0, 14.0]")
    answer = model.ask(body, content_type, "application/x-npy")
    assert numpy.load(io.BytesIO(answer.body)).tolist() == [8, 14]


@pytest.mark.parametrize(
    ("body", "content_type", "accept", "status"),
    [
        ("[[1, 2]", "application/json", "", 400),
        ("1,2", "application/pdf", "", 415),
        ("1,2", "text/csv", "image/png", 406),
    ],
)
def test_wrong_requests(
    model: Served, body: str, content_type: str, accept: str, status: int
) -> None:
    """Are the client's fault, and say so."""
    assert model.ask(body, content_type, accept).status == status


def test_code_that_is_refused(served: Serve, tmp_path: Path) -> None:
    """An endpoint that trusts nobody has no use for this image."""
    with pytest.raises(LoadFailed, match="folder code/ of the model would run code") as raised:
        served("python", folder(tmp_path), MODELPLEX_MODEL_CODE="refuse")
    assert raised.value.status == 403

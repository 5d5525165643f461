"""The built-in image `lightgbm`: boosters, every content type, wrong input."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from modelplex.workers.errors import LoadFailed
from tests.images.builtin.conftest import MakeImage, Serve
from tests.support import builtin
from tests.support.builtin import Served

pytestmark = pytest.mark.frameworks

CSV, JSON, LINES = "text/csv", "application/json", "application/jsonlines"
ROWS = "1,2,0,4\n-1,2,,4\n"
MODELS = """
import json, os, pickle
import lightgbm, numpy as np

rows = np.random.default_rng(0).normal(size=(100, 4))
parameters = {"objective": "binary", "verbose": -1, "num_threads": 1, "num_leaves": 4}
model = lightgbm.train(parameters, lightgbm.Dataset(rows, (rows[:, 0] > 0).astype(int)), 5)
for name in ("text", "pickle", "dict", "broken", "none"):
    os.makedirs(name)
model.save_model("text/model.txt")
open("pickle/model.pkl", "wb").write(pickle.dumps(model))
open("dict/model.pkl", "wb").write(pickle.dumps({"model": 1}))
open("broken/model.txt", "w").write("hello")
expected = model.predict(np.array([[1, 2, 0, 4], [-1, 2, np.nan, 4]]))
json.dump(expected.tolist(), open("expected.json", "w"))
"""


@pytest.fixture(scope="module")
def models(image: MakeImage) -> Path:
    return builtin.made(image("lightgbm"), MODELS)


@pytest.fixture(scope="module")
def expected(models: Path) -> list[float]:
    """What LightGBM itself predicts for ROWS."""
    return list(json.loads((models / "expected.json").read_text()))


@pytest.fixture(scope="module")
def model(served: Serve, models: Path) -> Served:
    return served("lightgbm", models / "text")


def test_text_and_pickle_are_loaded(
    served: Serve, models: Path, model: Served, expected: list[float]
) -> None:
    """The pickle only where code is trusted."""
    assert json.loads(model.ask(ROWS, CSV).body) == expected
    assert json.loads(served("lightgbm", models / "pickle").ask(ROWS, CSV).body) == expected
    with pytest.raises(LoadFailed, match=r"model\.pkl would run code of the model"):
        served("lightgbm", models / "pickle", MODELPLEX_MODEL_CODE="refuse")


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (ROWS, CSV),
        ("[[1, 2, 0, 4], [-1, 2, null, 4]]", JSON),
        ('{"features": [1, 2, 0, 4]}\n[-1, 2, null, 4]', LINES),
        ("0:1 1:2 3:4\n0:-1 1:2 2:nan 3:4", "text/libsvm"),
    ],
)
def test_every_content_type_is_read(
    model: Served, expected: list[float], body: str, content_type: str
) -> None:
    """What LIBSVM does not name is 0, as LightGBM itself reads it."""
    assert json.loads(model.ask(body, content_type).body) == expected


@pytest.mark.parametrize(
    ("accept", "text"), [(JSON, "[{}, {}]"), (CSV, "{}\n{}\n"), (LINES, "{}\n{}\n")]
)
def test_accept_is_honoured(model: Served, expected: list[float], accept: str, text: str) -> None:
    assert model.ask(ROWS, CSV, accept).body.decode() == text.format(*expected)


@pytest.mark.parametrize(
    ("asked", "status", "complaint"),
    [
        (("1,2,3", CSV, ""), 400, "The rows have 3 features, and the model was trained with 4."),
        (("1,x,3,4", CSV, ""), 400, "row 1, column 2: 'x' is no number"),
        (("", CSV, ""), 400, "The body is empty"),
        (("x", "image/png", ""), 415, "'image/png' cannot be read: send text/csv"),
        ((ROWS, CSV, "image/png"), 406, "cannot be written: accept application/json"),
    ],
)
def test_wrong_input_is_explained(
    model: Served, asked: tuple[str, str, str], status: int, complaint: str
) -> None:
    answer = model.ask(*asked)
    assert answer.status == status
    assert complaint in answer.body.decode()


def test_a_batch_has_an_answer_for_each(model: Served, expected: list[float]) -> None:
    """The broken one among them is the only one that fails."""
    answers = model.ask_all(*[(ROWS, CSV, "")] * 3, ("1,2", CSV, ""))
    assert [answer.status for answer in answers] == [200, 200, 200, 400]
    assert json.loads(answers[1].body) == expected


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("dict", "it holds a dict, and no booster"),
        ("broken", "it is no text of LightGBM's"),
        ("none", r"none of model\.txt, .*save_model\('model\.txt'\)"),
    ],
)
def test_what_cannot_be_loaded_is_explained(
    served: Serve, models: Path, name: str, complaint: str
) -> None:
    with pytest.raises(LoadFailed, match=complaint):
        served("lightgbm", models / name)


def test_functions_can_be_the_users(served: Serve, models: Path, tmp_path: Path) -> None:
    shutil.copy(models / "text/model.txt", tmp_path)
    (tmp_path / "code").mkdir()
    code = "def output_fn(prediction, accept): return str(len(prediction)), 'text/x-count'\n"
    (tmp_path / "code/inference.py").write_text(code)
    assert served("lightgbm", tmp_path).ask(ROWS, CSV).body == b"2"

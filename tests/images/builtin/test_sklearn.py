"""The built-in image `sklearn`: estimators from every format, every content type, wrong input."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from modelplex.workers.errors import LoadFailed
from tests.images.builtin.conftest import MakeImage, Serve
from tests.support import builtin
from tests.support.builtin import Served

pytestmark = pytest.mark.frameworks

CSV, JSON, LINES, NPY = "text/csv", "application/json", "application/jsonlines", "application/x-npy"
ROWS = "1,2,3,4\n-1,2,3,4\n"
MODELS = """
import os, pickle
import joblib, numpy as np, skops.io
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

rows = np.random.default_rng(0).normal(size=(100, 4))
labels = np.where(rows[:, 0] > 0, "yes", "no").astype(object)

def save(name, file, write):
    os.makedirs(name, exist_ok=True)
    write(f"{name}/{file}")

model = make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, labels)
save("skops", "model.skops", lambda path: skops.io.dump(model, path))
save("joblib", "model.joblib", lambda path: joblib.dump(model, path))
save("pickle", "model.pkl", lambda path: open(path, "wb").write(pickle.dumps(model)))
forest = RandomForestClassifier(n_estimators=5, n_jobs=-1).fit(rows, labels)
save("forest", "forest.joblib", lambda path: joblib.dump(forest, path, compress=3))
foreign = make_pipeline(FunctionTransformer(np.abs), LogisticRegression()).fit(rows, labels)
foreign.note = os.path.join
save("foreign", "model.skops", lambda path: skops.io.dump(foreign, path))
old = pickle.dumps(model).replace(__import__("sklearn").__version__.encode(), b"1.2.2")
save("old", "model.pkl", lambda path: open(path, "wb").write(old))
gone = old.replace(b"_logistic", b"_gonistic")
save("gone", "model.pkl", lambda path: open(path, "wb").write(gone))
save("several", "a.joblib", lambda path: joblib.dump(model, path))
save("several", "b.joblib", lambda path: joblib.dump(model, path))
save("dict", "model.pkl", lambda path: open(path, "wb").write(pickle.dumps({"model": model})))
save("nothing", "readme.txt", lambda path: open(path, "w").close())
"""
METHOD = "import os\nos.environ['MODELPLEX_PREDICT'] = {!r}\n"  # as CreateModel's Environment would


@pytest.fixture(scope="module")
def models(image: MakeImage) -> Path:
    return builtin.made(image("sklearn"), MODELS)


@pytest.fixture(scope="module")
def model(served: Serve, models: Path) -> Served:
    return served("sklearn", models / "skops")


@pytest.fixture
def probing(served: Serve, models: Path, tmp_path: Path) -> Callable[[str], Served]:
    """The same model, asked for another method."""

    def load(method: str) -> Served:
        (tmp_path / "model.skops").write_bytes((models / "skops/model.skops").read_bytes())
        (tmp_path / "code").mkdir()
        (tmp_path / "code/inference.py").write_text(METHOD.format(method))
        return served("sklearn", tmp_path)

    return load


def npy(*rows: list[float]) -> bytes:
    out = io.BytesIO()
    np.save(out, np.array(rows))
    return out.getvalue()


@pytest.mark.parametrize("format", ["skops", "joblib", "pickle", "forest", "foreign"])
def test_every_format_is_loaded(served: Serve, models: Path, format: str) -> None:
    """A forest that was trained with all cores predicts with one thread."""
    answer = served("sklearn", models / format).ask(ROWS, CSV)
    assert answer.status == 200
    assert set(json.loads(answer.body)) <= {"yes", "no"}


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (ROWS, CSV),
        ("[[1, 2, 3, 4], [-1, 2, 3, 4]]", JSON),
        ('{"instances": [{"features": [1, 2, 3, 4]}, {"features": [-1, 2, 3, 4]}]}', JSON),
        ("[1, 2, 3, 4]\n[-1, 2, 3, 4]", LINES),
        (npy([1, 2, 3, 4], [-1, 2, 3, 4]), NPY),
        ("0:1 1:2 2:3 3:4\n0:-1 1:2 2:3 3:4", "text/libsvm"),
    ],
)
def test_every_content_type_is_read(model: Served, body: bytes, content_type: str) -> None:
    assert json.loads(model.ask(body, content_type).body) == ["yes", "no"]


@pytest.mark.parametrize(
    ("accept", "body"),
    [
        ("", b'["yes", "no"]'),
        ("text/csv", b"yes\nno\n"),
        ("text/csv;q=0.5, application/json", b'["yes", "no"]'),
        (LINES, b'"yes"\n"no"\n'),
    ],
)
def test_accept_is_honoured(model: Served, accept: str, body: bytes) -> None:
    assert model.ask(ROWS, CSV, accept).body == body


def test_labels_are_an_array_without_objects(model: Served) -> None:
    """They were trained as objects, which NPY holds as pickles only."""
    answer = model.ask(ROWS, CSV, NPY)
    assert np.load(io.BytesIO(answer.body)).tolist() == ["yes", "no"]


@pytest.mark.parametrize(
    ("asked", "status", "complaint"),
    [
        (("1,2,3", CSV, ""), 400, "The rows have 3 features, and the model was trained with 4."),
        (("1,2,x,4", CSV, ""), 400, "row 1, column 3: 'x' is no number"),
        (("1,,3,4", CSV, ""), 400, "cannot take these rows: Input X contains NaN"),
        (("", CSV, ""), 400, "The body is empty"),
        (("x", "image/png", ""), 415, "'image/png' cannot be read: send text/csv"),
        (("x", "application/x-recordio-protobuf", ""), 415, "RecordIO-protobuf"),
        ((ROWS, CSV, "image/png"), 406, "cannot be written: accept application/json"),
    ],
)
def test_wrong_input_is_explained(
    model: Served, asked: tuple[str, str, str], status: int, complaint: str
) -> None:
    answer = model.ask(*asked)
    assert answer.status == status
    assert complaint in answer.body.decode()


def test_a_batch_has_an_answer_for_each(model: Served) -> None:
    """The broken one among them is the only one that fails."""
    answers = model.ask_all((ROWS, CSV, ""), ("1,2", CSV, ""), ("[-1, 2, 3, 4]", JSON, CSV))
    assert [answer.status for answer in answers] == [200, 400, 200]
    assert answers[2].body == b"no\n"


def test_another_method_can_be_asked_for(probing: Callable[[str], Served]) -> None:
    """MODELPLEX_PREDICT; rows of probabilities, then."""
    answer = json.loads(probing("predict_proba").ask("1,2,3,4", CSV).body)
    assert sum(answer[0]) == pytest.approx(1)


def test_a_method_that_it_has_not_fails_the_load(probing: Callable[[str], Served]) -> None:
    with pytest.raises(LoadFailed, match="is 'transform', and this Pipeline can predict, predict_"):
        probing("transform")


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("several", r"has a\.joblib, b\.joblib at its top"),
        ("dict", r"model\.pkl cannot be used: it holds a dict, and no estimator"),
        ("nothing", r"none of \*\.skops, .*skops\.io\.dump"),
        ("gone", r"made with scikit-learn 1\.2\.2, and this image has .*requirements\.txt"),
    ],
)
def test_what_cannot_be_loaded_is_explained(
    served: Serve, models: Path, name: str, complaint: str
) -> None:
    with pytest.raises(LoadFailed, match=complaint):
        served("sklearn", models / name)


def test_another_versions_pickle_is_told_in_the_log(served: Serve, models: Path) -> None:
    """It may work, and it may predict something else."""
    old = served("sklearn", models / "old")
    assert old.ask(ROWS, CSV).status == 200
    assert any("was made with scikit-learn 1.2.2" in line for line in old.printed)


def test_code_is_refused_where_it_is_not_trusted(served: Serve, models: Path) -> None:
    """Pickles, and types in a skops file that are not scikit-learn's; skops itself is not."""
    refuse = {"MODELPLEX_MODEL_CODE": "refuse"}
    assert served("sklearn", models / "skops", **refuse).ask(ROWS, CSV).status == 200
    for name, complaint in (("joblib", "model.joblib would run"), ("foreign", "posixpath.join")):
        with pytest.raises(LoadFailed, match=complaint):
            served("sklearn", models / name, **refuse)


OWN = {
    "model_fn": """
class Model:
    def predict(self, rows): return rows[:, 0]
def model_fn(model_dir): return Model()
""",
    "input_fn": "import numpy\ndef input_fn(body, kind): return numpy.array([[1, 2, 3, 4]])",
    "predict_fn": "def predict_fn(data, model): return [type(data).__name__, len(data)]",
    "output_fn": "def output_fn(prediction, accept): return 'mine', 'text/x-mine'",
}


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("model_fn", b"[1.0]"),
        ("input_fn", b'["yes"]'),
        ("predict_fn", b'["ndarray", 1]'),
        ("output_fn", b"mine"),
    ],
)
def test_each_function_can_be_the_users(
    served: Serve, models: Path, tmp_path: Path, name: str, answer: bytes
) -> None:
    (tmp_path / "model.skops").write_bytes((models / "skops/model.skops").read_bytes())
    (tmp_path / "code").mkdir()
    (tmp_path / "code/inference.py").write_text(OWN[name])
    assert served("sklearn", tmp_path).ask("1,2,3,4", CSV).body == answer

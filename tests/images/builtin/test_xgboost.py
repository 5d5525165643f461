"""The built-in image `xgboost`: boosters from every format, asked as SageMaker's container is."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from modelplex.workers.errors import LoadFailed
from tests.images.builtin.conftest import MakeImage, Serve
from tests.support import builtin
from tests.support.builtin import Served

pytestmark = pytest.mark.frameworks

LEGACY = Path(__file__).parent / "legacy"  # written by XGBoost 0.90 and 1.7.6, which say what they
EXPECTED = json.loads((LEGACY / "expected.json").read_text())  # predict for the rows below
LEGACY_ROWS = "0.5,-1,2\n-0.5,0.25,-2\n,1,0"
CSV, JSON, LINES, NPY = "text/csv", "application/json", "application/jsonlines", "application/x-npy"
ROWS = "1,2,3,4\n-1,2,,4\n"
MODELS = """
import json, os, pickle, shutil
import numpy as np, xgboost

rows = np.random.default_rng(0).normal(size=(100, 4))
label = (rows[:, 0] > 0).astype(int)

def train(target, **parameters):
    parameters = {"max_depth": 2, "objective": "binary:logistic", "nthread": 1, **parameters}
    return xgboost.train(parameters, xgboost.DMatrix(rows, target), 5)

def place(*names):
    for name in names:
        os.makedirs(os.path.dirname(name), exist_ok=True)
    return names

model = train(label)
for name in place("json/model.json", "ubj/model.ubj", "aws/xgboost-model"):
    model.save_model(name)
for name in place("pickle/xgboost-model"):
    open(name, "wb").write(pickle.dumps(model))
for number, name in enumerate(place("ensemble/xgboost-model-0", "ensemble/xgboost-model-1")):
    train(label, base_score=0.4 + number / 10).save_model(name)
for number, name in enumerate(place("votes/xgboost-model-0", "votes/xgboost-model-1")):
    train(label, objective="binary:hinge").save_model(name)
place("several/", "softprob/", "stopped/", "none/", "dict/", "broken/", "linear/")
shutil.copy("json/model.json", "several/a.json")
shutil.copy("json/model.json", "several/b.json")
classes = train(label + (rows[:, 1] > 0), objective="multi:softprob", num_class=3)
classes.save_model("softprob/model.json")
train(label, booster="gblinear", max_depth=None).save_model("linear/model.json")
model.set_attr(best_iteration="0")
model.save_model("stopped/model.json")
model.set_attr(best_iteration=None)
open("dict/model.pkl", "wb").write(pickle.dumps({"model": 1}))
open("broken/xgboost-model", "w").write("not a model")
matrix = xgboost.DMatrix(np.array([[1, 2, 3, 4], [-1, 2, np.nan, 4]]))
json.dump(model.predict(matrix).tolist(), open("expected.json", "w"))
json.dump(model.predict(matrix, iteration_range=(0, 1)).tolist(), open("first.json", "w"))
"""


@pytest.fixture(scope="module")
def models(image: MakeImage) -> Path:
    return builtin.made(image("xgboost"), MODELS)


@pytest.fixture(scope="module")
def expected(models: Path) -> list[float]:
    """What XGBoost itself predicts for ROWS."""
    return list(json.loads((models / "expected.json").read_text()))


@pytest.fixture(scope="module")
def model(served: Serve, models: Path) -> Served:
    return served("xgboost", models / "json")


@pytest.mark.parametrize("format", ["json", "ubj", "aws", "pickle"])
def test_every_format_is_loaded(
    served: Serve, models: Path, expected: list[float], format: str
) -> None:
    assert json.loads(served("xgboost", models / format).ask(ROWS, CSV).body) == expected


@pytest.mark.parametrize("path", sorted(LEGACY.glob("*.bin")), ids=lambda path: path.stem)
def test_the_binary_form_of_old_versions_is_read(served: Serve, tmp_path: Path, path: Path) -> None:
    """XGBoost itself has not read it since 3.1. It may lie there under SageMaker's name."""
    shutil.copy(path, tmp_path / "xgboost-model")
    name, version = path.stem.split("-")
    found = json.loads(served("xgboost", tmp_path).ask(LEGACY_ROWS, CSV).body)
    np.testing.assert_allclose(found, EXPECTED[version][name], rtol=1e-6)


def test_a_damaged_old_file_is_told(served: Serve, tmp_path: Path) -> None:
    content = (LEGACY / "logistic-1.7.6.bin").read_bytes()
    (tmp_path / "xgboost-model").write_bytes(content[:700])
    with pytest.raises(LoadFailed, match="xgboost-model cannot be used: the file is cut off or"):
        served("xgboost", tmp_path)


def test_ensembles_are_averaged_or_vote(served: Serve, models: Path, expected: list[float]) -> None:
    """Files `xgboost-model-0` and so on, as SageMaker's training with k-fold leaves them."""
    found = json.loads(served("xgboost", models / "ensemble").ask(ROWS, CSV).body)
    assert found == pytest.approx(expected, abs=0.05)
    assert json.loads(served("xgboost", models / "votes").ask(ROWS, CSV).body) == [1.0, 0.0]


def test_training_that_stopped_early_counts_to_its_best_round(served: Serve, models: Path) -> None:
    first = json.loads((models / "first.json").read_text())
    assert json.loads(served("xgboost", models / "stopped").ask(ROWS, CSV).body) == first


def test_a_linear_booster_is_asked_otherwise(served: Serve, models: Path) -> None:
    """It cannot predict in place."""
    assert served("xgboost", models / "linear").ask(ROWS, CSV).status == 200


def npy(rows: list[list[float]]) -> bytes:
    out = io.BytesIO()
    np.save(out, np.array(rows))
    return out.getvalue()


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (ROWS, CSV),
        ("[[1, 2, 3, 4], [-1, 2, null, 4]]", JSON),
        ('{"instances": [{"features": [1, 2, 3, 4]}, [-1, 2, null, 4]]}', JSON),
        ('[1, 2, 3, 4]\n{"features": [-1, 2, null, 4]}', LINES),
        (npy([[1, 2, 3, 4], [-1, 2, np.nan, 4]]), NPY),
        ("0:1 1:2 2:3 3:4\n0:-1 1:2 3:4", "text/libsvm"),
        ("1 1:1 2:2 3:3 4:4\n0 1:-1 2:2 4:4", "text/x-libsvm"),
    ],
)
def test_every_content_type_is_read(
    model: Served, expected: list[float], body: bytes, content_type: str
) -> None:
    """What LIBSVM does not name is missing, and indices begin at 1 where there is no 0."""
    assert json.loads(model.ask(body, content_type).body) == expected


@pytest.mark.parametrize(
    ("accept", "content_type", "text"),
    [
        ("", JSON, "[{}, {}]"),
        ("*/*", JSON, "[{}, {}]"),
        (CSV, CSV, "{},{}"),
        (LINES, LINES, '{{"score": {}}}\n{{"score": {}}}\n'),
    ],
)
def test_a_multi_model_endpoint_answers_as_sagemakers(
    model: Served, expected: list[float], accept: str, content_type: str, text: str
) -> None:
    answer = model.ask(ROWS, CSV, accept)
    assert answer.body.decode() == text.format(*expected)
    assert (b"content-type", content_type.encode()) in answer.headers


@pytest.mark.parametrize(
    ("accept", "text"),
    [
        ("", "{}\n{}\n"),
        (CSV, "{}\n{}\n"),
        (JSON, '{{"predictions": [{{"score": {}}}, {{"score": {}}}]}}'),
    ],
)
def test_an_endpoint_of_one_model_answers_as_sagemakers(
    served: Serve, models: Path, expected: list[float], accept: str, text: str
) -> None:
    single = served("xgboost", models / "json", SAGEMAKER_MULTI_MODEL="false")
    assert single.ask(ROWS, CSV, accept).body.decode() == text.format(*expected)


def test_selected_output_has_names(served: Serve, models: Path, tmp_path: Path) -> None:
    """SAGEMAKER_INFERENCE_OUTPUT; what the objective cannot say is null."""
    wanted = "predicted_label, probability,probabilities,labels,raw_score,predicted_score"
    shutil.copy(models / "softprob/model.json", tmp_path)
    (tmp_path / "code").mkdir()
    code = f"import os\nos.environ['SAGEMAKER_INFERENCE_OUTPUT'] = {wanted!r}\n"
    (tmp_path / "code/inference.py").write_text(code)
    model = served("xgboost", tmp_path)
    first, _ = json.loads(model.ask(ROWS, CSV, JSON).body)["predictions"]
    best = first["predicted_label"]
    assert first["probability"] == first["raw_score"] == first["probabilities"][best]
    assert (first["labels"], first["predicted_score"]) == ([0, 1, 2], None)
    line = model.ask(ROWS, CSV, CSV).body.decode().split("\n")[0]
    assert line.startswith(f'{best},{first["probability"]},"[')
    assert line.endswith(",nan")
    assert len(model.ask(ROWS, CSV, LINES).body.splitlines()) == 2


@pytest.mark.parametrize(
    ("asked", "status", "complaint"),
    [
        (("1,2,3", CSV, ""), 400, "The rows have 3 features, and the model was trained with 4."),
        (("0:1 4:1", "text/libsvm", ""), 400, "a feature 4, and the model was trained with 4"),
        (("a,b,c,d\n1,2,3,4", CSV, ""), 400, "'a' is no number (a header is not taken)"),
        (("", CSV, ""), 400, "The body is empty"),
        (("x", "text/plain", ""), 415, "'text/plain' cannot be read: send text/csv"),
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


def test_a_batch_has_an_answer_for_each(model: Served, expected: list[float]) -> None:
    """The broken one among them is the only one that fails."""
    answers = model.ask_all(*[(ROWS, CSV, "")] * 20, ("1,2", CSV, ""), ("-1,2,,4", CSV, CSV))
    assert [answer.status for answer in answers] == [200] * 20 + [400, 200]
    assert {bytes(answer.body) for answer in answers[:20]} == {json.dumps(expected).encode()}
    assert answers[21].body.decode() == str(expected[1])


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("several", r"has a\.json, b\.json at its top"),
        ("none", r"none of model\.json, .*save_model\('model\.json'\)"),
        ("dict", "it holds a dict, and no booster"),
        ("broken", "xgboost-model cannot be used: "),
    ],
)
def test_what_cannot_be_loaded_is_explained(
    served: Serve, models: Path, name: str, complaint: str
) -> None:
    with pytest.raises(LoadFailed, match=complaint):
        served("xgboost", models / name)


def test_pickles_are_refused_where_code_is(served: Serve, models: Path) -> None:
    """The formats without code are not."""
    refuse = {"MODELPLEX_MODEL_CODE": "refuse"}
    assert served("xgboost", models / "json", **refuse).ask(ROWS, CSV).status == 200
    with pytest.raises(LoadFailed, match="xgboost-model would run code of the model"):
        served("xgboost", models / "pickle", **refuse)


def test_the_users_functions_get_a_matrix(
    served: Serve, models: Path, expected: list[float], tmp_path: Path
) -> None:
    """As in SageMaker's container: input_fn gives a DMatrix, and predict_fn takes one."""
    shutil.copy(models / "json/model.json", tmp_path)
    (tmp_path / "code").mkdir()
    code = "def predict_fn(data, model): return [data.num_col(), *model.predict(data).tolist()]\n"
    (tmp_path / "code/inference.py").write_text(code)
    found = json.loads(served("xgboost", tmp_path).ask(ROWS, CSV, JSON).body)
    assert found == [4, *expected]

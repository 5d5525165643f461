"""The image modelplex/onnx: every content type, wrong input, pictures, batches, own code."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from modelplex.workers.errors import LoadFailed

np = pytest.importorskip("numpy")
onnx = pytest.importorskip("onnx")
Image = pytest.importorskip("PIL.Image")

pytestmark = pytest.mark.frameworks

FLOAT, INT64, UINT8 = (getattr(onnx.TensorProto, name) for name in ("FLOAT", "INT64", "UINT8"))
WEIGHTS = np.arange(8, dtype=np.float32).reshape(4, 2)
JSON, CSV, NPY, NPZ = "application/json", "text/csv", "application/x-npy", "application/x-npz"
LINES = "application/jsonlines"


def value(name, kind, shape):
    """An input or output."""
    return onnx.helper.make_tensor_value_info(name, kind, shape)


def save(folder: Path, inputs, outputs, nodes, *, constants=(), name="model.onnx"):
    """Writes a model; `nodes` are (operator, inputs, outputs, attributes)."""
    folder.mkdir(parents=True, exist_ok=True)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(kind, into, out, **options) for kind, into, out, options in nodes],
        "graph",
        [value(*each) for each in inputs],
        [value(*each) for each in outputs],
        [onnx.numpy_helper.from_array(array, key) for key, array in dict(constants).items()],
    )
    opsets = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8), folder / name)
    return folder


def linear(folder: Path, first="batch", name="model.onnx"):
    """x times WEIGHTS; the first dimension is open if it is a name."""
    inputs, outputs = [("x", FLOAT, [first, 4])], [("y", FLOAT, [first, 2])]
    nodes = [("MatMul", ["x", "w"], ["y"], {})]
    return save(folder, inputs, outputs, nodes, constants={"w": WEIGHTS}, name=name)


def picture_means(folder: Path, kind, shape):
    """The mean of each colour of a picture."""
    nodes = [("Cast", ["image"], ["f"], {"to": FLOAT})]
    axes = [2, 3] if shape[1] in {1, 3} else [1, 2]
    nodes.append(("ReduceMean", ["f"], ["means"], {"axes": axes, "keepdims": 0}))
    colours = shape[1] if shape[1] in {1, 3} else shape[3]
    return save(folder, [("image", kind, shape)], [("means", FLOAT, [None, colours])], nodes)


def red(form="PNG") -> bytes:
    """A red picture, wider than high."""
    out = io.BytesIO()
    Image.new("RGB", (20, 10), (255, 0, 0)).save(out, form)
    return out.getvalue()


def npy(array) -> bytes:
    """An array as NumPy writes it."""
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def npz(**arrays) -> bytes:
    """Several."""
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """For the module's models."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def model(served, folder):
    """The linear one."""
    return served("onnx", linear(folder / "linear"))


@pytest.fixture(scope="module")
def two(served, folder):
    """Two inputs, two outputs: the scaled sum of each row, and its maximum."""
    inputs = [("ids", INT64, ["batch", "length"]), ("scale", FLOAT, ["batch", 1])]
    outputs = [("sum", FLOAT, ["batch", 1]), ("max", INT64, ["batch", 1])]
    nodes = [
        ("Cast", ["ids"], ["f"], {"to": FLOAT}),
        ("ReduceSum", ["f", "axes"], ["s"], {}),
        ("Mul", ["s", "scale"], ["sum"], {}),
        ("ReduceMax", ["ids"], ["max"], {"axes": [1]}),
    ]
    return served(
        "onnx", save(folder / "two", inputs, outputs, nodes, constants={"axes": np.array([1])})
    )


BLUE = [0, 0, 1]
ROWS = np.array([[1, 2, 3, 4], [0, 0, 0, 1]])
EXPECTED = (ROWS @ WEIGHTS).tolist()


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (JSON, json.dumps(ROWS.tolist())),
        (JSON, json.dumps({"x": ROWS.tolist()})),
        (JSON, json.dumps({"inputs": ROWS.tolist()})),
        (JSON, json.dumps({"instances": [{"x": row} for row in ROWS.tolist()]})),
        (LINES, "[1,2,3,4]\n[0,0,0,1]\n"),
        (CSV, "1,2,3,4\n0,0,0,1\n"),
        (NPY, npy(ROWS.astype(np.float64))),
        (NPZ, npz(x=ROWS)),
    ],
)
def test_every_content_type_in(model, content_type, body):
    """Cast to what the model takes."""
    answer = model.ask(body, content_type)
    assert (answer.status, json.loads(answer.body)) == (200, EXPECTED)


def test_every_content_type_out(model):
    """As Accept asks for it."""
    asked = (JSON, CSV, LINES, NPY, NPZ)
    answers = [model.ask("[[1,2,3,4]]", JSON, accept) for accept in asked]
    assert [dict(answer.headers)[b"content-type"] for answer in answers] == [
        accept.encode() for accept in asked
    ]
    texts = [answer.body.decode() for answer in answers[:3]]
    assert texts == ["[[40.0, 50.0]]", "40.0,50.0\n", "[40.0, 50.0]\n"]
    assert np.load(io.BytesIO(answers[3].body)).tolist() == [[40, 50]]
    assert np.load(io.BytesIO(answers[4].body))["output"].tolist() == [[40, 50]]


def test_a_row_alone_is_a_batch_of_one(model):
    """Where only the open dimension is missing."""
    assert json.loads(model.ask("[1,2,3,4]", JSON).body) == EXPECTED[:1]


@pytest.mark.parametrize(
    ("content_type", "body", "status", "text"),
    [
        (JSON, "[[1,2,3]]", 400, "'x' takes tensor(float) of shape (batch, 4), and the body has"),
        (JSON, '[["a","b","c","d"]]', 400, "'x' takes float32, and the body has texts"),
        (JSON, '{"y":[1]}', 400, "The model's inputs are x, and the body has y"),
        (JSON, "nope", 400, "no valid application/json"),
        (CSV, "1,2,x,4", 400, "could not convert string 'x'"),
        (CSV, "", 400, "empty"),
        ("text/plain", "1", 415, "'text/plain' cannot be read: send JSON, JSON lines, CSV"),
        ("image/png", "1", 415, "'image/png' cannot be read"),
    ],
)
def test_wrong_input_is_told_what_is_right(model, content_type, body, status, text):
    """A 4xx with a sentence."""
    answer = model.ask(body, content_type)
    assert answer.status == status
    assert text in answer.body.decode()


def test_an_answer_that_cannot_be_written_says_what_can(model, two):
    """An unknown type, and one that cannot hold two outputs."""
    answer = model.ask("[[1,2,3,4]]", JSON, "image/png")
    assert answer.status == 406
    assert "'image/png' cannot be written: accept application/json" in answer.body.decode()
    answer = two.ask('{"ids":[[1]],"scale":[[1]]}', JSON, NPY)
    assert answer.status == 406
    assert "the model has 2 outputs, and application/x-npy holds one" in answer.body.decode()


def test_several_inputs_and_outputs_have_names(two):
    """Given whole, and by rows."""
    answer = two.ask('{"ids":[[1,2],[3,4]],"scale":[[0.5],[1]]}', JSON)
    assert json.loads(answer.body) == {"sum": [[1.5], [7]], "max": [[2], [4]]}
    answer = two.ask(npz(ids=[[1, 2]], scale=[[2]]), NPZ, NPZ)
    assert np.load(io.BytesIO(answer.body))["sum"].tolist() == [[6]]
    for body, text in (
        ("[[1,2]]", "takes 2 inputs by name: ids, scale"),
        ('{"ids":[[0.5]],"scale":[[1]]}', "'ids' takes int64, and the body has other values"),
    ):
        assert text in two.ask(body, JSON).body.decode()


def test_a_batch_is_answered_one_by_one(two):
    """Also when its requests have different lengths, or are at fault."""
    good = '{"ids":[[1,2]],"scale":[[1]]}'
    other = '{"ids":[[1,2,3],[4,5,6]],"scale":[[1],[1]]}'
    answers = two.ask_all(*((body, JSON, JSON) for body in (good, other, "[]", good)))
    assert [answer.status for answer in answers] == [200, 200, 400, 200]
    sums = [json.loads(answers[at].body)["sum"] for at in (0, 1, 3)]
    assert sums == [[[3]], [[6], [15]], [[3]]]


def test_rows_that_may_depend_on_each_other_are_not_put_together(served, folder):
    """A sequence's first dimension is open too."""
    inputs, outputs = [("steps", FLOAT, ["time", 1])], [("sums", FLOAT, ["time", 1])]
    nodes = [("CumSum", ["steps", "axis"], ["sums"], {})]
    constants = {"axis": np.array(0)}
    model = served("onnx", save(folder / "sequence", inputs, outputs, nodes, constants=constants))
    answers = model.ask_all(("[[1],[2]]", JSON, JSON), ("[[1],[2]]", JSON, JSON))
    assert [json.loads(answer.body) for answer in answers] == [[[1], [3]], [[1], [3]]]


@pytest.mark.parametrize(
    ("takes", "preprocess", "expected"),
    [
        ((FLOAT, [1, 3, 8, 8]), None, [(1 - 0.485) / 0.229, -0.456 / 0.224, -0.406 / 0.225]),
        ((UINT8, ["N", 8, 6, 3]), None, [255, 0, 0]),
        ((FLOAT, ["N", 1, 8, 8]), {"mean": [0], "std": [1]}, [76 / 255]),
        ((FLOAT, ["N", 3, "h", "w"]), {"mean": 0, "std": 1, "size": [4, 4], "order": "BGR"}, BLUE),
    ],
)
def test_pictures_become_what_the_model_takes(served, tmp_path, takes, preprocess, expected):
    """Size and layout from the model, numbers from its preprocess.json."""
    model_dir = picture_means(tmp_path / "m", *takes)
    if preprocess is not None:
        (model_dir / "preprocess.json").write_text(json.dumps(preprocess))
    model = served("onnx", model_dir)
    for content_type, body in (("application/x-image", red()), ("image/bmp", red("BMP"))):
        answer = model.ask(body, content_type)
        assert json.loads(answer.body) == [pytest.approx(expected, abs=1e-5)]
    answer = model.ask(red()[:45], "image/png")
    assert answer.status == 400
    assert "no picture that can be read" in answer.body.decode()


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, r"none of model.onnx, \*.onnx at its top"),
        ({"a.onnx": None, "b.onnx": None}, "has a.onnx, b.onnx at its top"),
        ({"model.onnx": b"nonsense"}, "model.onnx cannot be used"),
        ({"model.onnx": None, "preprocess.json": b"{}"}, None),
        ({"image": None, "preprocess.json": b'{"scale": 2}'}, "unknown entry 'scale'"),
    ],
)
def test_a_model_that_cannot_be_loaded_says_why(served, tmp_path, files, reason):
    """`None` stands for a good model; settings for pictures matter only to models of pictures."""
    for name, content in files.items():
        if name == "image":
            picture_means(tmp_path, FLOAT, [1, 3, 8, 8])
        elif content is None:
            linear(tmp_path, name=name)
        else:
            (tmp_path / name).write_bytes(content)
    if reason is None:
        assert served("onnx", tmp_path).ask("[[1,2,3,4]]", JSON).status == 200
    else:
        with pytest.raises(LoadFailed, match=reason):
            served("onnx", tmp_path)


MODEL_FN = """
import json, numpy, onnxruntime, os

def model_fn(model_dir):
    return onnxruntime.InferenceSession(os.path.join(model_dir, "model.onnx"))
"""
INPUT_FN = """
def input_fn(body, content_type):
    return numpy.array([json.loads(body)["row"]], numpy.float32)
"""


@pytest.mark.parametrize(
    ("code", "body"), [(MODEL_FN, "[[1,2,3,4]]"), (MODEL_FN + INPUT_FN, '{"row": [1,2,3,4]}')]
)
def test_the_archives_own_functions_come_first(served, tmp_path, code, body):
    """Each for itself, with the defaults for the rest; also in a batch."""
    (linear(tmp_path) / "code").mkdir()
    (tmp_path / "code" / "inference.py").write_text(code)
    answers = served("onnx", tmp_path).ask_all((body, JSON, JSON), ("[]", JSON, JSON))
    assert json.loads(answers[0].body) == EXPECTED[:1]
    assert answers[1].status >= 400


def test_a_loaded_model_can_be_forked_and_reports_nothing_home(model):
    """One thread, before and after it has predicted; and no file of telemetry's."""
    model.ask("[[1,2,3,4]]", JSON)
    assert len(list(Path(f"/proc/{model.worker.pid}/task").iterdir())) == 1
    opened = {str(each.resolve()) for each in Path(f"/proc/{model.worker.pid}/fd").iterdir()}
    assert not [name for name in opened if "onnxruntime" in name]

"""The image modelplex/mxnet: checkpoints read and converted, with MXNet itself as the judge."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
from pathlib import Path

import pytest

from modelplex.images import build
from modelplex.images.environment import BuildFailed
from modelplex.images.store import ImageStore
from modelplex.workers.errors import LoadFailed
from tests.support import builtin

ROOT = Path(__file__).parents[3]
SCRIPTS = ROOT / "tests" / "support" / "mxnet"
JSON, CSV, NPY, PICTURE = "application/json", "text/csv", "application/x-npy", "application/x-image"

np = pytest.importorskip("numpy")

FLOAT32, MODERN, OLDER = 0, 0xF993FAC9, 0xF993FAC8


def array_bytes(array, magic=MODERN) -> bytes:
    """One float32 array as the versions of MXNet write it; `magic` 0: the oldest."""
    head = struct.pack("<Ii", magic, 0) if magic == MODERN else b""
    head += struct.pack("<I", magic) if magic == OLDER else b""
    sizes = "q" if magic else "I"
    head += struct.pack(f"<I{array.ndim}{sizes}", array.ndim, *array.shape)
    return head + struct.pack("<iii", 1, 0, FLOAT32) + array.astype("<f4").tobytes()


def params_bytes(arrays, magic=MODERN) -> bytes:
    """A `.params` file."""
    parts = [struct.pack("<QQQ", 0x112, 0, len(arrays))]
    parts += [array_bytes(array, magic) for array in arrays.values()]
    parts.append(struct.pack("<Q", len(arrays)))
    for name in arrays:
        text = f"arg:{name}".encode()
        parts.append(struct.pack("<Q", len(text)) + text)
    return b"".join(parts)


def variable(name):
    """An input or a parameter."""
    return {"op": "null", "name": name, "inputs": []}


def symbol_text(*nodes, head=None) -> str:
    """A `-symbol.json`; its last node is the output."""
    return json.dumps({"nodes": nodes, "heads": [[head or len(nodes) - 1, 0, 0]]})


DENSE = symbol_text(
    variable("data"),
    variable("w"),
    variable("b"),
    {
        "op": "FullyConnected",
        "name": "fc",
        "attrs": {"num_hidden": "2"},
        "inputs": [[0, 0, 0], [1, 0, 0], [2, 0, 0]],
    },
)
WEIGHTS = {"w": np.array([[1, 2, 3], [0, 0, 1]]), "b": np.array([10, 20])}


def write(
    folder: Path, text=DENSE, arrays=None, shape=(1, 3), *, magic=MODERN, name="model"
) -> Path:
    """A checkpoint in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}-symbol.json").write_text(text)
    (folder / f"{name}-0000.params").write_bytes(params_bytes(arrays or WEIGHTS, magic))
    if shape:
        signature = [{"name": "data", "shape": shape}]
        (folder / f"{name}-shapes.json").write_text(json.dumps(signature))
    return folder


def npy(array) -> bytes:
    """An array as NumPy writes it."""
    out = io.BytesIO()
    np.save(out, np.asarray(array))
    return out.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """For the module's models."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def dense(served, folder):
    """Three numbers in, two out."""
    return served("mxnet", write(folder / "dense"))


@pytest.fixture(scope="module")
def classifier(served, folder):
    """A colour for a picture: the mean of its red, green and blue, through softmax."""
    pool = {"op": "Pooling", "name": "pool", "inputs": [[0, 0, 0]]}
    pool["attrs"] = {"global_pool": "True", "pool_type": "avg", "kernel": "(1, 1)"}
    scale = {"op": "_mul_scalar", "name": "scale", "attrs": {"scalar": "0.01"}}
    scale["inputs"] = [[1, 0, 0]]
    flat = {"op": "Flatten", "name": "flat", "inputs": [[2, 0, 0]]}
    text = symbol_text(variable("data"), pool, scale, flat)
    place = write(folder / "colours", text, {"unused": np.zeros(1)}, (1, 3, 8, 8), name="colours")
    (place / "synset.txt").write_text("n1 red\nn2 green\nn3 blue\n")
    return served("mxnet", place)


@pytest.mark.frameworks
@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (JSON, "[[1, 1, 1]]"),
        (JSON, "[1, 1, 1]"),
        (JSON, '{"data": [[1, 1, 1]]}'),
        (JSON, '{"instances": [[1, 1, 1]]}'),
        ("application/jsonlines", "[1, 1, 1]\n"),
        (CSV, "1,1,1"),
        (NPY, npy([[1.0, 1.0, 1.0]])),
    ],
)
def test_every_content_type_in(dense, content_type, body):
    """As SageMaker's container takes it, and more."""
    answer = dense.ask(body, content_type)
    assert (answer.status, json.loads(answer.body)) == (200, [[16, 21]])


@pytest.mark.frameworks
def test_every_content_type_out(dense):
    """As Accept asks for it; several rows have several answers."""
    rows = "[[1, 1, 1], [0, 0, 0]]"
    assert json.loads(dense.ask(rows, JSON, JSON).body) == [[16, 21], [10, 20]]
    assert dense.ask(rows, JSON, CSV).body == b"16.0,21.0\n10.0,20.0\n"
    assert np.load(io.BytesIO(dense.ask(rows, JSON, NPY).body)).tolist() == [[16, 21], [10, 20]]


@pytest.mark.frameworks
@pytest.mark.parametrize(
    ("asked", "status", "text"),
    [
        (("[[1, 2]]", JSON, ""), 400, "'data' takes (rows, 3), and the body has the shape (1, 2)"),
        (('[["a", "b", "c"]]', JSON, ""), 400, "the body has texts"),
        (('{"x": [1]}', JSON, ""), 400, "The model's inputs are data, and the body has x"),
        (("{", JSON, ""), 400, "no valid application/json"),
        (("1,2", CSV, ""), 400, "takes (rows, 3)"),
        (("1", "text/html", ""), 415, "'text/html' cannot be read: send JSON"),
        (("1", PICTURE, ""), 415, "cannot be read"),
        (("[[1, 2, 3]]", JSON, "text/html"), 406, "cannot be written: accept application/json"),
    ],
)
def test_wrong_input_is_told_what_is_right(dense, asked, status, text):
    """A 4xx with a sentence."""
    answer = dense.ask(*asked)
    assert answer.status == status
    assert text in answer.body.decode()


@pytest.mark.frameworks
def test_pictures_are_answered_with_labels(classifier):
    """In the words of the notebook's handler; arrays where arrays are asked for."""
    pillow = pytest.importorskip("PIL.Image")
    out = io.BytesIO()
    pillow.new("RGB", (20, 10), (0, 255, 0)).save(out, "PNG")
    answer = classifier.ask(out.getvalue(), PICTURE)
    told = json.loads(answer.body)
    assert [line.split("class=")[1] for line in told] == ["n2 green", "n1 red", "n3 blue"]
    assert told[0] == "probability=0.864930, class=n2 green"
    numbers = np.load(io.BytesIO(classifier.ask(out.getvalue(), "image/png", NPY).body))
    np.testing.assert_allclose(numbers, [[0, 2.55, 0]], rtol=1e-6)
    assert classifier.ask(b"no picture", PICTURE).status == 400


@pytest.mark.frameworks
def test_a_model_may_bring_its_own_functions(served, folder):
    """Each for itself; the others stay."""
    place = write(folder / "own")
    (place / "code").mkdir()
    code = "def output_fn(prediction, accept):\n    return str(float(prediction[0, 0])), 'text/x'\n"
    (place / "code" / "inference.py").write_text(code)
    answer = served("mxnet", place).ask("[[1, 1, 1]]", JSON)
    assert (answer.status, bytes(answer.body)) == (200, b"16.0")


@pytest.mark.frameworks
@pytest.mark.parametrize("magic", [OLDER, 0])
def test_files_of_old_versions_are_read(served, folder, magic):
    """Arrays as MXNet wrote them before 1.0."""
    model = served("mxnet", write(folder / f"old{magic}", magic=magic))
    assert json.loads(model.ask("[[1, 1, 1]]", JSON).body) == [[16, 21]]


@pytest.mark.frameworks
def test_networks_of_old_versions_are_read(served, folder):
    """`param` for attributes, entries of two numbers, statistics that the file does not name, a
    gamma that counts as 1, and a label that is nowhere."""
    norm = {"op": "BatchNorm", "name": "bn", "param": {"eps": "0", "fix_gamma": "True"}}
    norm["inputs"] = [[0, 0], [1, 0], [2, 0]]
    out = {"op": "SoftmaxOutput", "name": "softmax", "param": {}, "inputs": [[3, 0], [4, 0]]}
    names = ("data", "gamma", "beta")
    text = symbol_text(*map(variable, names), norm, variable("softmax_label"), out)
    arrays = {"gamma": [9, 9], "beta": [0, 1], "bn_moving_mean": [1, 1], "bn_moving_var": [4, 1]}
    arrays = {name: np.array(values) for name, values in arrays.items()}
    model = served("mxnet", write(folder / "older", text, arrays, (1, 2)))
    powers = np.exp([(3 - 1) / 2, (2 - 1) / 1 + 1])
    found = json.loads(model.ask("[[3, 2]]", JSON).body)
    np.testing.assert_allclose(found, [powers / powers.sum()], rtol=1e-6)


@pytest.mark.frameworks
def test_a_network_of_a_fixed_number_of_rows_takes_any(served, folder):
    """Row by row, where its reshape names the rows."""
    reshape = {"op": "Reshape", "name": "r", "attrs": {"shape": "(1, 3)"}, "inputs": [[0, 0, 0]]}
    text = symbol_text(variable("data"), reshape)
    model = served("mxnet", write(folder / "fixed", text, {"unused": np.zeros(1)}))
    assert json.loads(model.ask("[[1,2,3],[4,5,6]]", JSON).body) == [[1, 2, 3], [4, 5, 6]]


@pytest.mark.frameworks
@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (lambda data: data[:40], "it ends at byte 40"),
        (lambda data: b"", "model-0000.params is empty"),
        (lambda data: b"\1" + data[1:], "it begins with"),
        (lambda data: data[:16] + b"\xff" * 8 + data[24:], "it claims"),
        (lambda data: data[:32] + b"\xff\xff\xff\x7f" + data[36:], "dimensions"),
        (lambda data: data[:28] + b"\1\0\0\0" + data[32:], "sparse"),
    ],
)
def test_broken_weights_are_told(served, folder, spoil, text):
    """Never read beyond, never allocated for."""
    place = write(folder / "broken")
    path = place / "model-0000.params"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(LoadFailed, match=text):
        served("mxnet", place)


@pytest.mark.frameworks
@pytest.mark.parametrize(
    ("network", "text"),
    [
        ("{", "model-symbol.json is no network of MXNet"),
        (symbol_text(variable("data"), head=7), "is no network of MXNet: IndexError"),
        (DENSE.replace("FullyConnected", "Magic"), r"the operator Magic \(node 'fc'\)"),
        (DENSE.replace('"w"', '"v"'), "'v' is neither among the parameters nor among the inputs"),
        (
            DENSE.replace('"FullyConnected"', '"Pooling"'),
            "Pooling 'fc' lacks the attribute kernel",
        ),
    ],
)
def test_broken_networks_are_told(served, folder, network, text):
    """With the node that is at fault."""
    with pytest.raises(LoadFailed, match=text):
        served("mxnet", write(folder / "unknown", network))


@pytest.mark.frameworks
def test_what_is_prepared_is_what_is_loaded(served, image, folder):
    """The weights are not read again: the answer is right without them."""
    place = write(folder / "prepared")
    built = image("mxnet")
    prepare = f"import sys; sys.path.insert(0, {str(built.folder)!r})\n"
    prepare += f"import preparation; preparation.prepare({str(place)!r})"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    subprocess.run([str(built.python), "-c", prepare], check=True, env=environment)
    (place / "model-0000.params").write_bytes(b"")
    assert json.loads(served("mxnet", place).ask("[[1, 1, 1]]", JSON).body) == [[16, 21]]


# -- MXNet as the judge ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def judged(image, folder) -> list[dict[str, object]]:
    """What compare.py says of all operators and of three networks of the model zoo."""
    ours = image("mxnet")
    try:
        container = ROOT / "examples" / "notebook" / "container"
        store = ImageStore(builtin.FOLDER)
        theirs = build.build(store, container, "notebook", lambda *_: None).image
    except BuildFailed as error:
        pytest.skip(f"MXNet cannot be had here: {error.tail[-300:]}")
    place = folder / "judged"
    quiet = {**os.environ, "OMP_NUM_THREADS": "1", "MXNET_USE_OPERATOR_TUNING": "0"}
    quiet |= {"MXNET_SUBGRAPH_VERBOSE": "0", "PYTHONPATH": str(ROOT / "src")}
    zoo = ["zoo", "squeezenet1.1", "mobilenet0.5", "resnet18_v2"]
    for what in (["operators"], zoo):
        script = [str(SCRIPTS / "networks.py"), str(place), *what]
        done = subprocess.run([str(theirs.python), *script], env=quiet, capture_output=True)
        if b"cannot open shared object file" in done.stderr:
            pytest.skip(f"MXNet does not start here: {done.stderr[-300:].decode()}")
        assert done.returncode == 0, done.stderr.decode()
    compare = [str(ours.python), str(SCRIPTS / "compare.py"), str(ours.folder)]
    done = subprocess.run([*compare, str(place)], env=quiet, check=True, capture_output=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.frameworks
@pytest.mark.mxnet
def test_outputs_are_those_of_mxnet(judged):
    """Converted in memory and as it is kept: random weights, random statistics."""
    assert len(judged) > 50
    wrong = [line for line in judged if "failure" in line or line["error"] > 1e-5]
    assert wrong == []
    assert max(line["error_prepared"] for line in judged) <= 1e-5

"""The image modelplex/pytorch: TorchScript, exported programs, weights with code."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest

from modelplex.workers.errors import LoadFailed
from tests.support import builtin

np = pytest.importorskip("numpy")
Image = pytest.importorskip("PIL.Image")

pytestmark = pytest.mark.frameworks

JSON, CSV, NPY, NPZ = "application/json", "text/csv", "application/x-npy", "application/x-npz"
LINES = "application/jsonlines"
NETWORK = """
import torch

class Linear(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 2, bias=False)

    def forward(self, x):
        return self.layer(x)

class Two(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding.from_pretrained(torch.arange(20.0).reshape(10, 2))

    def forward(self, ids, mask):
        return self.table(ids).sum(2) * mask, mask.sum(1)

class Means(torch.nn.Module):
    def forward(self, picture):
        return picture.mean((2, 3))
"""
# A module of its own: TorchScript reads the source.
MAKE = (
    f"open('network.py', 'w').write({NETWORK!r})"
    + """
import safetensors.torch, torch
from network import Linear, Means, Two

linear = Linear().eval()
linear.layer.weight.data = torch.arange(8.0).reshape(2, 4)
torch.jit.script(linear).save("linear.pt")
torch.save(linear.state_dict(), "weights.pth")
torch.save({"module." + k: v for k, v in linear.state_dict().items()}, "parallel.pth")
safetensors.torch.save_file(linear.state_dict(), "weights.safetensors")
torch.jit.script(Means()).save("means.pt")
torch.jit.script(Two()).save("two.pt")
batch = torch.export.Dim("batch")
example = (torch.ones(2, 3, dtype=torch.long), torch.ones(2, 3))
torch.export.save(torch.export.export(Two(), example, dynamic_shapes=({0: batch},) * 2), "two.pt2")
torch.save(linear, "pickled.pt")
"""
)
# Together, for a zygote takes seconds to import PyTorch.
STRICT = {"MODELPLEX_MODEL_CODE": "refuse", "MODELPLEX_BATCH_FIRST": "true"}
ROWS = np.array([[1, 2, 3, 4], [0, 0, 0, 1]])
EXPECTED = (ROWS @ np.arange(8.0).reshape(2, 4).T).tolist()


@pytest.fixture(scope="module")
def made(image) -> Path:
    """All files, by their names."""
    return builtin.made(image("pytorch"), MAKE)


@pytest.fixture
def archive(made, tmp_path):
    """A model's folder of some of the files under other names, and of modules of code."""

    def make(files: dict[str, str], **code: str) -> Path:
        folder = tmp_path / f"m{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        for name, source in files.items():
            shutil.copy(made / source, folder / name)
        for name, text in code.items():
            (folder / "code").mkdir(exist_ok=True)
            (folder / "code" / f"{name}.py").write_text(text)
        return folder

    return make


@pytest.fixture(scope="module")
def script(served, made, tmp_path_factory):
    """The linear network as TorchScript."""
    folder = tmp_path_factory.mktemp("script")
    shutil.copy(made / "linear.pt", folder / "model.pt")
    return served("pytorch", folder)


def npy(array) -> bytes:
    """An array as NumPy writes it."""
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def red() -> bytes:
    """A red picture."""
    out = io.BytesIO()
    Image.new("RGB", (20, 10), (255, 0, 0)).save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (JSON, json.dumps(ROWS.tolist())),
        (JSON, json.dumps({"x": ROWS.astype(float).tolist()})),
        (JSON, json.dumps({"instances": ROWS.tolist()})),
        (LINES, "[1,2,3,4]\n[0,0,0,1]\n"),
        (CSV, "1,2,3,4\n0,0,0,1\n"),
        (NPY, npy(ROWS.astype(np.float64))),
    ],
)
def test_every_content_type_in(script, content_type, body):
    """Fractions in the precision of the weights."""
    answer = script.ask(body, content_type)
    assert (answer.status, json.loads(answer.body)) == (200, EXPECTED)


def test_every_content_type_out(script):
    """As Accept asks for it."""
    asked = (JSON, CSV, LINES, NPY, NPZ)
    answers = [script.ask("[[1,2,3,4]]", JSON, accept) for accept in asked]
    assert [dict(answer.headers)[b"content-type"].decode() for answer in answers] == list(asked)
    texts = [answer.body.decode() for answer in answers[:3]]
    assert texts == ["[[20.0, 60.0]]", "20.0,60.0\n", "[20.0, 60.0]\n"]
    assert np.load(io.BytesIO(answers[3].body)).tolist() == [[20, 60]]
    assert np.load(io.BytesIO(answers[4].body))["output"].tolist() == [[20, 60]]


@pytest.mark.parametrize(
    ("content_type", "body", "status", "text"),
    [
        (JSON, "[[1,2,3]]", 400, "cannot be multiplied (1x3 and 4x2)"),
        (JSON, '["a"]', 400, "takes float32, and the body has texts"),
        (JSON, '{"y":[1]}', 400, "The model's inputs are x, and the body has y"),
        (JSON, "nope", 400, "no valid application/json"),
        (NPY, npy(np.array(["a"])), 400, "takes numbers"),
        (CSV, "", 400, "empty"),
        ("text/plain", "1", 415, "cannot be read: send JSON, JSON lines, CSV, NPY and NPZ, JPEG"),
        ("image/png", "1", 400, "no picture that can be read"),
    ],
)
def test_wrong_input_is_told_what_is_right(script, content_type, body, status, text):
    """A 4xx with a sentence."""
    answer = script.ask(body, content_type)
    assert (answer.status, text in answer.body.decode()) == (status, True), answer.body


def test_an_unknown_accept_is_refused(script):
    """With what can be had."""
    answer = script.ask("[[1,2,3,4]]", JSON, "image/png")
    assert answer.status == 406
    assert "accept application/json" in answer.body.decode()


def test_several_inputs_come_by_name(served, archive):
    """Whole numbers stay whole there; TorchScript and exported programs alike."""
    for files in ({"two.jit": "two.pt"}, {"model.pt2": "two.pt2"}):
        model = served("pytorch", archive(files))
        answer = model.ask('{"ids": [[0, 1, 2]], "mask": [[1.0, 1.0, 0.0]]}', JSON)
        assert json.loads(answer.body) == {"output_0": [[1, 5, 0]], "output_1": [2]}
        for body in ('{"ids": [[0, 1, 2]]}', "[[1]]", '{"ids": [[99, 1, 2]], "mask": [[1.0]]}'):
            assert model.ask(body, JSON).status == 400
    # Of these two only the exported program knows its types.
    answer = model.ask('{"ids": [[0.5, 1, 2]], "mask": [[1, 1, 0]]}', JSON)
    assert "'ids' takes int64, and the body has other values" in answer.body.decode()


@pytest.mark.parametrize("source", ["weights.pth", "parallel.pth", "weights.safetensors"])
def test_weights_go_into_what_network_fn_makes(served, archive, source):
    """Pickled or not, with the names of several devices or not."""
    name = "model" + Path(source).suffix
    code = "from network import Linear as network_fn\n"
    model = served("pytorch", archive({name: source}, inference=code, network=NETWORK))
    assert json.loads(model.ask("[[1,2,3,4]]", JSON).body) == EXPECTED[:1]


def test_the_archives_own_functions_come_first(served, archive):
    """A model_fn as for SageMaker's container, and the defaults for the rest."""
    code = """
import os, torch
from network import Linear

def model_fn(model_dir):
    network = Linear()
    network.load_state_dict(torch.load(os.path.join(model_dir, "weights.pth"), weights_only=True))
    return torch.nn.Sequential(network, torch.nn.Dropout(0.9))  # without eval()

def output_fn(prediction, accept):
    return f"{type(prediction).__name__} {prediction.tolist()}"
"""
    files = {"weights.pth": "weights.pth"}
    model = served("pytorch", archive(files, inference=code, network=NETWORK))
    answer = model.ask("1,2,3,4", CSV)
    assert answer.body == b"Tensor [[20.0, 60.0]]"


def test_pickles_are_for_those_who_may_run_code(served, archive):
    """A pickled module needs its classes, and an endpoint that allows them."""
    model = served("pytorch", archive({"model.pt": "pickled.pt"}, network=NETWORK))
    assert json.loads(model.ask("[[1,2,3,4]]", JSON).body) == EXPECTED[:1]
    for name, source in (("model.pt", "pickled.pt"), ("model.pt2", "two.pt2")):
        with pytest.raises(LoadFailed, match="would run code of the model") as refused:
            served("pytorch", archive({name: source}), **STRICT)
        assert refused.value.status == 403
    script = served("pytorch", archive({"model.pt": "linear.pt"}), **STRICT)
    assert script.ask("[[1,2,3,4]]", JSON).status == 200


@pytest.mark.parametrize(
    ("files", "code", "reason"),
    [
        ({}, "", "none of model.pt"),
        ({"a.pt": "linear.pt", "b.pt": "linear.pt"}, "", "has a.pt, b.pt at its top"),
        ({"model.pth": "weights.pth"}, "", "weights and no network: .*network_fn"),
        ({"model.safetensors": "weights.safetensors"}, "", "weights and no network"),
        ({"model.pt": "pickled.pt"}, "", "whose classes the model's code/ has not"),
        (
            {"model.pth": "weights.pth"},
            "import torch\ndef network_fn():\n    return torch.nn.Linear(4, 3)\n",
            "does not fit what network_fn made",
        ),
    ],
)
def test_a_model_that_cannot_be_loaded_says_why(served, archive, files, code, reason):
    """In a sentence for its owner."""
    with pytest.raises(LoadFailed, match=reason):
        served("pytorch", archive(files, **({"inference": code} if code else {})))


def test_pictures_become_what_the_model_takes(served, archive):
    """As ImageNet's, or as its preprocess.json says."""
    folder = archive({"model.pt": "means.pt"})
    expected = [(1 - 0.485) / 0.229, -0.456 / 0.224, -0.406 / 0.225]
    answer = served("pytorch", folder).ask(red(), "application/x-image")
    assert json.loads(answer.body) == [pytest.approx(expected, abs=1e-4)]
    (folder / "preprocess.json").write_text('{"size": [8, 8], "mean": 0, "std": 1}')
    answer = served("pytorch", folder).ask(red(), "image/png")
    assert json.loads(answer.body) == [pytest.approx([1, 0, 0])]


def test_rows_are_put_together_where_the_owner_says_so(served, archive):
    """And the one at fault fails alone."""
    model = served("pytorch", archive({"model.pt": "linear.pt"}), **STRICT)
    bodies = ("[[1,2,3,4]]", "[[1]]", "[[0,0,0,1],[1,2,3,4]]", "nope")
    answers = model.ask_all(*((body, JSON, JSON) for body in bodies))
    assert [answer.status for answer in answers] == [200, 400, 200, 400]
    assert json.loads(answers[0].body) == EXPECTED[:1]
    assert json.loads(answers[2].body) == EXPECTED[::-1]


def test_a_loaded_model_can_be_forked(script):
    """One thread, also once it has predicted."""
    script.ask("[[1,2,3,4]]", JSON)
    assert len(list(Path(f"/proc/{script.worker.pid}/task").iterdir())) == 1

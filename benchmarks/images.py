"""Built-in images: a cold start from the disk, a warm answer, and memory, for each of them.

    python -m benchmarks images [NAME...]

Without a platform: the zygote, a worker for a small model, and requests straight to it, one after
the other and in batches. A request is one row of a table, or one picture. Further images are
measured by adding to MODELS a script that writes a model into its working directory, in the
image's own Python, and a request for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from modelplex.images.store import BuiltImage
from modelplex.workers.image import ImageSpec
from modelplex.workers.pools import Pools
from tests.support import builtin

STARTS = 5  # of a worker; the median counts
REQUESTS = 300
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Model:
    """A small model of a framework, and a request for it."""

    script: str
    body: bytes
    content_type: str


_TABLE = """
import numpy as np
rows = np.random.default_rng(0).normal(size=(1000, 10))
labels = (rows[:, 0] > 0).astype(int)
"""
_ROW = (b"1,2,3,4,5,6,7,8,9,10", "text/csv")
# softmax(x @ w) with ten inputs and two classes; the image has nothing that could write it.
_ONNX = (
    "CAg6uAEKEQoBeAoBdxIBeiIGTWF0TXVsCg8KAXoSAXkiB1NvZnRtYXgSAWcqWwgKCAIQAUIBd0pQuB4FPrgeBb4K1y"
    "M/zczMPXE9Cr/sUbg+ZmamPzMzcz8zMzO/XI+iv1K4Hr8K1yM9uB4VwK5HYb4AAKC/SOE6v3E9Cr8K16O+hevRPrge"
    "hT9aGAoBeBITChEIARINCgcSBWJhdGNoCgIICmIYCgF5EhMKEQgBEg0KBxIFYmF0Y2gKAggCQgQKABAR"
)
MODELS = {
    "sklearn": Model(
        _TABLE
        + """
import skops.io
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
model = make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, labels)
skops.io.dump(model, "model.skops")
""",
        *_ROW,
    ),
    "xgboost": Model(
        _TABLE
        + """
import xgboost
parameters = {"objective": "binary:logistic", "nthread": 1}
xgboost.train(parameters, xgboost.DMatrix(rows, labels), 100).save_model("model.json")
""",
        *_ROW,
    ),
    "lightgbm": Model(
        _TABLE
        + """
import lightgbm
parameters = {"objective": "binary", "verbose": -1, "num_threads": 1}
lightgbm.train(parameters, lightgbm.Dataset(rows, labels), 100).save_model("model.txt")
""",
        *_ROW,
    ),
    "onnx": Model(
        f"import base64; open('model.onnx', 'wb').write(base64.b64decode({_ONNX!r}))", *_ROW
    ),
    "pytorch": Model(
        """
import torch
torch.manual_seed(0)
layers = torch.nn.Linear(10, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2), torch.nn.Softmax(1)
torch.jit.trace(torch.nn.Sequential(*layers).eval(), torch.ones(2, 10)).save("model.pt")
""",
        *_ROW,
    ),
    "mxnet": Model(
        """
import json, struct
import numpy as np
rng = np.random.default_rng(0)

def array(values):
    head = struct.pack(f"<Iii{values.ndim}q", 0xF993FAC9, 0, values.ndim, *values.shape)
    return head + struct.pack("<iii", 1, 0, 0) + values.tobytes()

arrays = {"arg:w": rng.normal(size=(2, 10)).astype("f4"), "arg:b": np.zeros(2, "f4")}
names = b"".join(struct.pack("<Q", len(name)) + name.encode() for name in arrays)
body = b"".join(map(array, arrays.values())) + struct.pack("<Q", len(arrays)) + names
open("model-0000.params", "wb").write(struct.pack("<QQQ", 0x112, 0, len(arrays)) + body)
nodes = [{"op": "null", "name": name, "inputs": []} for name in ("data", "w", "b")]
inputs, attributes = [[0, 0, 0], [1, 0, 0], [2, 0, 0]], {"num_hidden": "2"}
nodes.append({"op": "FullyConnected", "name": "fc", "attrs": attributes, "inputs": inputs})
nodes.append({"op": "softmax", "name": "out", "inputs": [[3, 0, 0]]})
network = {"nodes": nodes, "arg_nodes": [0, 1, 2], "heads": [[4, 0, 0]]}
json.dump(network, open("model-symbol.json", "w"))
json.dump([{"name": "data", "shape": [1, 10]}], open("model-shapes.json", "w"))
""",
        *_ROW,
    ),
}


@dataclass(frozen=True, slots=True)
class Measured:
    """Milliseconds and MiB."""

    zygote_ms: float
    load_ms: float
    first_ms: float
    warm_ms: float
    batched_ms: float  # of one request among as many as the image takes at once
    zygote_mib: float
    worker_mib: float


def run(names: Sequence[str]) -> str:
    """A table with a line for each image."""
    lines = [
        "## Built-in images\n",
        "One small model each, on the instance's own disk. Cold is fork + load + first answer.\n",
        "| image | zygote ms | cold ms | of it the first answer | warm ms | in a batch, ms each |"
        " zygote MiB | each model MiB |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name in names or MODELS:
        found = measure(name)
        lines.append(
            f"| {name} | {found.zygote_ms:.0f} | {found.load_ms + found.first_ms:.0f} |"
            f" {found.first_ms:.1f} | {found.warm_ms:.2f} | {found.batched_ms:.2f} |"
            f" {found.zygote_mib:.0f} | {found.worker_mib:.1f} |"
        )
    return "\n".join([*lines, ""])


def measure(name: str) -> Measured:
    """Starts the image and several workers of its model, one after the other."""
    model, image = MODELS[name], builtin.image(name)
    folder = builtin.made(image, model.script)
    host = builtin.Host()
    try:
        # Once before, so that the modules that a load imports are known to the zygote.
        host.load(image, folder)
        zygote_ms, zygote_mib = _zygote(host, image)
        starts = [_start(host, image, folder, model) for _ in range(STARTS)]
        served = host.load(image, folder)
        request = (model.body, model.content_type, "")
        warm = [_timed(lambda: served.ask(*request)) for _ in range(REQUESTS)]
        at_once = max(1, image.batch_max)
        batched = [_timed(lambda: served.ask_all(*[request] * at_once)) for _ in range(20)]
        worker_mib = served.worker.memory_bytes() / MIB
    finally:
        host.close()
    return Measured(
        zygote_ms=zygote_ms,
        load_ms=median(load for load, _ in starts),
        first_ms=median(first for _, first in starts),
        warm_ms=median(warm),
        batched_ms=median(batched) / at_once,
        zygote_mib=zygote_mib,
        worker_mib=worker_mib,
    )


def _zygote(host: builtin.Host, image: BuiltImage) -> tuple[float, float]:
    """Milliseconds until another zygote has imported everything, and its PSS then."""
    spec = ImageSpec(image.folder, image.python, image.handler, image.preload)
    pools = Pools(spec, {"SAGEMAKER_MULTI_MODEL": "true", **image.environment}, lambda *_: None)
    try:
        return _timed(lambda: host.run(pools.start())), pools.base_bytes() / MIB
    finally:
        host.run(pools.close())


def _start(
    host: builtin.Host, image: BuiltImage, folder: Path, model: Model
) -> tuple[float, float]:
    """Milliseconds of a load, and of the first answer after it."""
    began = time.perf_counter()
    served = host.load(image, folder)
    loaded = time.perf_counter()
    answer = served.ask(model.body, model.content_type)
    assert answer.status == 200, bytes(answer.body)
    return (loaded - began) * 1000, (time.perf_counter() - loaded) * 1000


def _timed(action: Callable[[], object]) -> float:
    """Milliseconds that it took."""
    began = time.perf_counter()
    action()
    return (time.perf_counter() - began) * 1000

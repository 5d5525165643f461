"""MXNet's checkpoints without MXNet: the same outputs, and what the two images take.

    python -m benchmarks mxnet [--rounds 5] [--networks resnet18_v1 vgg11 ...]

Parity: networks of MXNet's model zoo with random weights and random statistics of BatchNorm, and a
network for each operator, are made and run by MXNet 1.9.1 (`make peers`), then converted and run by
the image `modelplex/mxnet`, both as it is done in memory and as it is kept beside an artifact.

Weight: the notebook's three models in the notebook's own image, which has MXNet, and in ours, each
in an instance inside this process over a folder as its store. Rounds in turn; every round has an
instance of its own, which is then started again to load from the disk.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from modelplex.images import build
from modelplex.images.store import BuiltImage, ImageStore
from modelplex.instance import spec as specs
from modelplex.instance.life import Instance
from modelplex.settings import Settings
from modelplex.workers.process import pss_bytes
from modelplex.workers.worker import Invocation
from tests.support import asking, builtin

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "examples" / "notebook"
PEERS = ROOT / ".venv-peers" / "bin" / "python"
SCRIPTS = ROOT / "tests" / "support" / "mxnet"
MIB = 1024 * 1024
LIMIT = 1e-5  # of the largest output
WARM = 10  # requests
NETWORKS = [
    *("alexnet", "densenet121", "inceptionv3", "mobilenet0.5", "mobilenetv2_0.5", "resnet18_v1"),
    *("resnet18_v2", "resnet50_v1", "resnet101_v2", "resnet152_v1", "squeezenet1.0"),
    *("squeezenet1.1", "vgg11", "vgg11_bn"),
]
QUIET = {"MXNET_USE_OPERATOR_TUNING": "0", "MXNET_SUBGRAPH_VERBOSE": "0", "OMP_NUM_THREADS": "1"}
MODELS = ("squeezenet_v1.0", "resnet_18", "resnet_152")


class Taken(NamedTuple):
    """One model in one round: milliseconds of first answers and of a warm one, PSS in MiB."""

    cold_ms: float
    disk_ms: float
    warm_ms: float
    pss_mib: float


class Round(NamedTuple):
    """All models of one image in one instance, and its zygote before it forked."""

    zygote_mib: float
    models: dict[str, Taken]


def run(arguments: Sequence[str] = ()) -> str:
    """Measure; Markdown sections."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks mxnet")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--networks", nargs="*", default=NETWORKS)
    given = parser.parse_args(list(arguments))
    ours = builtin.image("mxnet")
    return "\n".join([_parity(ours, given.networks), _weight(ours, given.rounds)])


# -- parity ---------------------------------------------------------------------------------------


def _parity(ours: BuiltImage, networks: Sequence[str]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        zoo = [line for name in networks for line in _compared(ours, Path(folder) / name, name)]
        operators = _compared(ours, Path(folder) / "operators")
    worst = max(max(line["error"], line["error_prepared"]) for line in [*zoo, *operators])
    assert worst <= LIMIT, f"one network differs by {worst:.1e}"
    rows = [_parity_row(line) for line in zoo]
    worst_operator = max(operators, key=lambda line: float(line["error"]))
    return "\n".join(
        [
            "## MXNet 1.9.1 and its checkpoints on onnxruntime: outputs",
            "",
            "Random weights and statistics of BatchNorm; two rows. Error: largest difference by"
            " largest output. Load: from what `prepare` keeps.",
            "",
            "| network | error | error, prepared | convert and load ms | prepare ms | load ms |",
            "|:--|--:|--:|--:|--:|--:|",
            *rows,
            "",
            f"{len(operators)} networks of one or a few operators: at most"
            f" {worst_operator['error']:.1e} ({worst_operator['name']}).",
            "",
        ]
    )


def _parity_row(line: dict[str, Any]) -> str:
    errors = f"{line['error']:.1e} | {line['error_prepared']:.1e}"
    times = " | ".join(f"{line[step]:,.0f}" for step in ("convert_ms", "prepare_ms", "load_ms"))
    return f"| {line['name']} | {errors} | {times} |"


def _compared(ours: BuiltImage, folder: Path, network: str = "") -> list[dict[str, Any]]:
    """MXNet's outputs beside ours; AssertionError where one cannot be converted."""
    what = ["zoo", network] if network else ["operators"]
    quiet = {**os.environ, **QUIET, "PYTHONPATH": str(ROOT / "src")}
    make = [str(PEERS), "-W", "ignore", str(SCRIPTS / "networks.py"), str(folder), *what]
    subprocess.run(make, check=True, env=quiet)
    compare = [str(ours.python), str(SCRIPTS / "compare.py"), str(ours.folder)]
    done = subprocess.run([*compare, str(folder)], check=True, env=quiet, stdout=subprocess.PIPE)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert not any("failure" in line for line in lines), lines
    return lines


# -- weight ---------------------------------------------------------------------------------------


def _weight(ours: BuiltImage, rounds: int) -> str:
    say = sys.stderr.write
    store = ImageStore(builtin.FOLDER)
    theirs = build.build(store, NOTEBOOK / "container", "notebook", lambda *_: None).image
    images = {"MXNet 1.9.1": theirs, "modelplex/mxnet": ours}
    found: dict[str, list[Round]] = {name: [] for name in images}
    with tempfile.TemporaryDirectory(prefix="modelplex-bench-") as folder:
        home = Path(folder)
        _make_models(theirs, home)
        for number in range(rounds):
            for name, image in images.items():
                say(f"round {number + 1} of {rounds}: {name}\n")
                place = home / f"{number}-{image.hash}"
                place.mkdir()
                found[name].append(asyncio.run(_round(image, home / "store", place)))
    lines = [_weight_row(name, model, found) for model in MODELS for name in images]
    sizes = ", ".join(
        f"{name} {_size_mib(image.folder.parent):,.0f} MiB" for name, image in images.items()
    )
    zygotes = ", ".join(
        f"{name} {median(one.zygote_mib for one in found[name]):.0f} MiB" for name in images
    )
    return "\n".join(
        [
            "## The notebook's models with MXNet and without",
            "",
            f"{rounds} rounds in turn, medians, one thread; the notebook's picture. Cold: fetched,"
            " prepared, loaded, answered. Disk: loaded, answered. PSS of the model's process.",
            "",
            "| model | image | cold ms | disk ms | warm ms | PSS MiB |",
            "|:--|:--|--:|--:|--:|--:|",
            *lines,
            "",
            f"Zygote, PSS: {zygotes}. Image on disk: {sizes}.",
            "",
        ]
    )


def _weight_row(name: str, model: str, found: dict[str, list[Round]]) -> str:
    columns = zip(*(one.models[model] for one in found[name]), strict=True)
    cells = " | ".join(f"{median(column):,.0f}" for column in columns)
    return f"| {model} | {name} | {cells} |"


def _make_models(theirs: BuiltImage, home: Path) -> None:
    """The notebook's archives, made by the notebook's script."""
    data, store = home / "data", home / "store"
    store.mkdir()
    make = [str(theirs.python), "-W", "ignore", str(NOTEBOOK / "networks.py"), str(data)]
    subprocess.run(make, check=True, env={**os.environ, **QUIET}, stdout=subprocess.DEVNULL)
    for folder in data.iterdir():
        name = next(folder.glob("*-symbol.json")).name.removesuffix("-symbol.json")
        shapes = folder / f"{name}-shapes.json"
        shapes.write_text('[{"shape": [1, 3, 224, 224], "name": "data"}]')
        with tarfile.open(store / f"{folder.name}.tar.gz", "w:gz", compresslevel=1) as archive:
            archive.add(folder, arcname=".")


async def _round(image: BuiltImage, store: Path, home: Path) -> Round:
    """One instance with nothing on its disk, and again with everything there."""
    spec = _spec(image, store, home)
    instance = await _started(spec)
    try:
        zygote = pss_bytes(instance.zygote_pid or 0) / MIB
        cold = {model: await _ask(instance, model, "cold") for model in MODELS}
    finally:
        await instance.stop()
    instance = await _started(spec)
    try:
        models = {}
        for model in MODELS:
            disk = await _ask(instance, model, "disk")
            warm = median([await _ask(instance, model, "warm") for _ in range(WARM)])
            assert instance.agent is not None
            pss = pss_bytes(instance.agent.workers[f"{model}.tar.gz"].pid) / MIB
            models[model] = Taken(cold[model], disk, warm, pss)
    finally:
        await instance.stop()
    return Round(zygote, models)


async def _started(spec: specs.Spec) -> Instance:
    instance = Instance(spec, on_defect=lambda reason: print(reason, file=sys.stderr))
    await instance.start()
    assert instance.agent is not None, instance.reason
    return instance


async def _ask(instance: Instance, model: str, start: str) -> float:
    """Milliseconds until the answer, which has to begin as `start` says."""
    assert instance.agent is not None
    picture = Invocation([(b"content-type", b"application/x-image")], _PICTURE)
    began = time.perf_counter()
    answer, call = await asking.ask(instance.agent, f"{model}.tar.gz", picture)
    took = (time.perf_counter() - began) * 1000
    assert answer.status == 200, bytes(answer.body)
    assert call.start == start, call
    return took


def _size_mib(folder: Path) -> float:
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sum(path.stat().st_blocks * 512 for path in files) / MIB


def _spec(image: BuiltImage, store: Path, home: Path) -> specs.Spec:
    return specs.parse(
        {
            "id": "i-0123456789abcdef0",
            "endpoint": "mxnet",
            "variant": "AllTraffic",
            "account": "123456789012",
            "region": "us-west-2",
            "socket": str(home / "i.sock"),
            "folder": str(home / "instance"),
            "log_group": "/aws/sagemaker/Endpoints/mxnet",
            "log_stream": "AllTraffic/i-0123456789abcdef0",
            "log_folder": str(home / "logs"),
            "image": {
                "kind": "handler",
                "name": image.name,
                "folder": str(image.folder.parent),
                "python": str(image.python),
                "handler": image.handler,
                "preload": list(image.preload),
                "prepare": image.prepare,
            },
            "environment": dict(image.environment),
            "mode": "MultiModel",
            "cache": "Enabled",
            "model_data_url": f"file://{store}/",
            "memory_bytes": 8192 * MIB,
            "disk_bytes": 8192 * MIB,
            "vcpus": 1.0,
            "s3": {"endpoint": "", "region": "", "access_key": "", "secret_key": ""},
            "file_roots": [str(store)],
            "limits": Settings().as_document() | {"fact_log_mib": 0},
        }
    )


_PICTURE = (NOTEBOOK / "cat.jpg").read_bytes()

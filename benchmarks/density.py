"""Thousands of small scikit-learn models in memory at once: what each takes, and what comes back.

    python -m benchmarks density --models 2000 --shared 100 [--lone 200] [--mlserver PYTHON]

Every model has an artifact of its own of about 20 KB. An instance runs inside this process, over a
folder as its store; all models are loaded by a request each, asked again, and then nine of ten are
unloaded by taking the memory away that they have. PSS is summed over the zygote and all workers.
`--python` is an interpreter with scikit-learn, `--mlserver` one with mlserver and scikit-learn.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import NamedTuple

from modelplex.http.client import Client
from modelplex.instance import spec as specs
from modelplex.instance.life import Instance
from modelplex.settings import Settings
from modelplex.workers.process import pss_bytes
from modelplex.workers.worker import Invocation
from tests.support import asking
from tests.support.models import make_archive
from tests.support.processes import free_port

ROOT = Path(__file__).parents[1]
MIB = 1024 * 1024
AT_ONCE = 8  # requests
KEPT = 0.1  # of the models, after unloading
READY_S = 1800.0  # longest that MLServer may take to load all
SETTLE_S = 60.0  # longest that memory may take to come back
FEATURES, CLASSES = 400, 6  # 2,400 numbers: a pickle of about 20 KB

HANDLER = """
import json
import os
import pickle

import sklearn.linear_model


class Handler:
    def initialize(self, context):
        folder = context.system_properties["model_dir"]
        with open(os.path.join(folder, "model.pickle"), "rb") as file:
            self.model = pickle.load(file)

    def handle(self, data, context):
        return [self.model.predict([json.loads(data[0]["body"])]).tolist()]
"""
TRAIN = f"""
import pickle, sys
import numpy as np
from sklearn.linear_model import LogisticRegression
draw = np.random.default_rng(1)
x, y = draw.normal(size=(60, {FEATURES})), np.arange(60) % {CLASSES}
sys.stdout.buffer.write(pickle.dumps(LogisticRegression(max_iter=5).fit(x, y)))
"""
MLSERVER_RUNTIME = """
import pickle
from pathlib import Path

from mlserver import MLModel
from mlserver.codecs import NumpyCodec


class Model(MLModel):
    async def load(self):
        self._model = pickle.loads(Path(self.settings.parameters.uri).read_bytes())
        return True

    async def predict(self, payload):
        given = NumpyCodec.decode_input(payload.inputs[0])
        found = NumpyCodec.encode_output("y", self._model.predict(given))
        from mlserver.types import InferenceResponse
        return InferenceResponse(model_name=self.name, outputs=[found])
"""
BODY = json.dumps([0.5] * FEATURES).encode()


class Memory(NamedTuple):
    """PSS of all processes that hold models, and how many there are."""

    total_bytes: int
    processes: int


class Outcome(NamedTuple):
    """One mode, measured. Seconds are of loading all; bytes are PSS."""

    mode: str
    models: int
    load_s: float
    before: Memory
    loaded: Memory
    kept: int
    after: Memory

    @property
    def row(self) -> str:
        """A line of the table."""
        added = self.loaded.total_bytes - self.before.total_bytes
        returned = (self.loaded.total_bytes - self.after.total_bytes) / max(1, added)
        cells = [
            self.mode,
            f"{self.models:,}",
            f"{self.load_s:.1f}",
            f"{1000 * self.load_s / self.models:.1f}",
            f"{self.loaded.processes:,}",
            f"{self.loaded.total_bytes / MIB:,.0f}",
            f"{added / self.models / MIB:.3f}",
            f"{self.kept:,}",
            f"{self.after.processes:,}",
            f"{self.after.total_bytes / MIB:,.0f}",
            f"{returned:.0%}",
        ]
        return f"| {' | '.join(cells)} |"


def run(arguments: Sequence[str] = ()) -> str:
    """Measure; a Markdown section."""
    given = _options(arguments)
    pickled = subprocess.run([given.python, "-c", TRAIN], capture_output=True, check=True).stdout
    outcomes = [asyncio.run(_instance(given, pickled, given.models, given.shared))]
    if given.lone:
        outcomes.append(asyncio.run(_instance(given, pickled, given.lone, 1)))
    if given.mlserver:
        outcomes.append(asyncio.run(_mlserver(given.mlserver, pickled, given.models)))
    head = "| mode | models | s to load | ms each | processes | PSS MiB | MiB per model |"
    lines = [
        f"## Density: scikit-learn models of {len(pickled) / 1000:.0f} KB",
        "",
        f"{head} kept | processes | PSS MiB | came back |",
        "|:--" + "|--:" * 10 + "|",
        *(outcome.row for outcome in outcomes),
        "",
    ]
    return "\n".join(lines)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks density")
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--shared", type=int, default=100, help="models per worker")
    parser.add_argument("--lone", type=int, default=100, help="models, each in its own worker")
    parser.add_argument("--memory-mib", type=int, default=16 * 1024, help="of the instance")
    parser.add_argument("--python", default=str(ROOT / ".venv-peers/bin/python"))
    parser.add_argument("--mlserver", default="", help="an interpreter that has it")
    return parser.parse_args(list(arguments))


# -- our side -------------------------------------------------------------------------------------


async def _instance(given: argparse.Namespace, pickled: bytes, models: int, shared: int) -> Outcome:
    with _spec(given, pickled, models, shared) as spec:
        instance = Instance(spec, on_defect=lambda reason: print(reason, file=sys.stderr))
        await instance.start()
        assert instance.agent is not None, instance.reason
        try:
            return await _measure(instance, models, shared)
        finally:
            await instance.stop()


async def _measure(instance: Instance, models: int, shared: int) -> Outcome:
    names = [f"m{number}.tar.gz" for number in range(models)]
    before = _memory(instance)
    began = time.monotonic()
    await _ask_all(instance, names)
    load_s = time.monotonic() - began
    await _ask_all(instance, names)
    loaded = _memory(instance)
    after = await _unload(instance, int(models * KEPT))
    assert instance.agent is not None
    kept = sorted(instance.agent.workers)
    await _ask_all(instance, kept)
    mode = f"{shared} in a worker" if shared > 1 else "one worker each"
    return Outcome(mode, models, load_s, before, loaded, len(kept), after)


async def _ask_all(instance: Instance, names: list[str]) -> None:
    left = iter(names)

    async def ask() -> None:
        for name in left:
            assert instance.agent is not None
            answer, _ = await asking.ask(instance.agent, name, Invocation([], BODY))
            assert answer.status == 200, bytes(answer.body)

    await asyncio.gather(*(ask() for _ in range(AT_ONCE)))


async def _unload(instance: Instance, kept: int) -> Memory:
    """Take memory away until no more than `kept` models are loaded, and let things settle."""
    assert instance.agent is not None
    spec, memory = instance.spec, instance.agent.residency.memory
    loaded = len(instance.agent.workers)
    while loaded > kept:
        budget = instance.base_bytes + int(memory.used_bytes * max(0.5, kept / loaded))
        instance.spec = dataclasses.replace(spec, memory_bytes=budget)
        await asyncio.sleep(2 * spec.limits.sample_interval_s)
        loaded = len(instance.agent.workers)
    instance.spec = spec
    lowest, until = _memory(instance), time.monotonic() + SETTLE_S
    while time.monotonic() < until:
        await asyncio.sleep(2 * spec.limits.sample_interval_s)
        found = _memory(instance)
        if found.total_bytes >= lowest.total_bytes * 0.99:
            return found
        lowest = found
    return lowest


def _memory(instance: Instance) -> Memory:
    workers = instance.agent.workers.values() if instance.agent else ()
    pids = {worker.pid for worker in workers}
    return Memory(sum(map(pss_bytes, {*pids, instance.zygote_pid or 0} - {0})), len(pids))


@contextmanager
def _spec(
    given: argparse.Namespace, pickled: bytes, models: int, shared: int
) -> Iterator[specs.Spec]:
    with tempfile.TemporaryDirectory(prefix="modelplex-bench-") as folder:
        home = Path(folder)
        store, image = home / "store", home / "image"
        store.mkdir()
        image.mkdir()
        (image / "model_handler.py").write_text(HANDLER)
        for number in range(models):
            # None is another's twin.
            files: dict[str, bytes | str] = {"model.pickle": pickled, "number.txt": str(number)}
            (store / f"m{number}.tar.gz").write_bytes(make_archive(files))
        limits = Settings().as_document() | {"fact_log_mib": 0}
        yield specs.parse(
            {
                "id": "i-0123456789abcdef0",
                "endpoint": "density",
                "variant": "AllTraffic",
                "account": "123456789012",
                "region": "us-west-2",
                "socket": str(home / "i.sock"),
                "folder": str(home / "instance"),
                "log_group": "/aws/sagemaker/Endpoints/density",
                "log_stream": "AllTraffic/i-0123456789abcdef0",
                "log_folder": str(home / "logs"),
                "image": {
                    "folder": str(image),
                    "python": given.python,
                    "handler": "model_handler.py:Handler",
                    "preload": ["sklearn.linear_model"],
                    "models_per_worker": shared,
                },
                "environment": {},
                "mode": "MultiModel",
                "cache": "Enabled",
                "model_data_url": f"file://{store}/",
                "memory_bytes": given.memory_mib * MIB,
                "disk_bytes": 16 * 1024 * MIB,
                "vcpus": float(os.cpu_count() or 1),
                "s3": {"endpoint": "", "region": "", "access_key": "", "secret_key": ""},
                "file_roots": [str(home)],
                "limits": limits,
            }
        )


# -- MLServer -------------------------------------------------------------------------------------


async def _mlserver(python: str, pickled: bytes, models: int) -> Outcome:
    """All models in one process (`parallel_workers` 0), as it keeps them cheapest, loaded at its
    start: every load through its API looks through the whole repository again.
    """
    async with _running_mlserver(python, pickled, 1) as (_, pid, _):
        before = Memory(pss_bytes(pid), 1)
    async with _running_mlserver(python, pickled, models) as (client, pid, load_s):
        return await _measure_mlserver(client, pid, load_s, before, models)


@asynccontextmanager
async def _running_mlserver(
    python: str, pickled: bytes, models: int
) -> AsyncIterator[tuple[Client, int, float]]:
    """A server with so many models: a client, its pid, and how long it took to be ready."""
    with tempfile.TemporaryDirectory(prefix="modelplex-bench-") as folder:
        home, port = Path(folder), free_port()
        (home / "density_runtime.py").write_text(MLSERVER_RUNTIME)
        for number in range(models):
            _mlserver_model(home / f"m{number}", f"m{number}", pickled)
        settings = {"http_port": port, "grpc_port": free_port(), "metrics_port": free_port()}
        settings |= {"parallel_workers": 0, "debug": False}
        (home / "settings.json").write_text(json.dumps(settings))
        environment = {**os.environ, "PYTHONPATH": folder, "OMP_NUM_THREADS": "1"}
        began = time.monotonic()
        with (home / "mlserver.log").open("wb") as log:
            process = subprocess.Popen(  # noqa: ASYNC220  there is nothing to hold up yet
                [str(Path(python).parent / "mlserver"), "start", folder],
                env=environment,
                stdout=log,
                stderr=log,
            )
        client = Client(f"tcp:127.0.0.1:{port}")
        try:
            await _until_ready(client, process)
            yield client, process.pid, time.monotonic() - began
        finally:
            await client.close()
            process.terminate()
            process.wait(30)


def _mlserver_model(folder: Path, name: str, pickled: bytes) -> None:
    folder.mkdir()
    (folder / "model.pickle").write_bytes(pickled)
    uri = str(folder / "model.pickle")
    document = {"name": name, "implementation": "density_runtime.Model", "parameters": {"uri": uri}}
    (folder / "model-settings.json").write_text(json.dumps(document))


async def _until_ready(client: Client, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + READY_S
    ready = False
    while not ready:
        assert process.poll() is None, f"MLServer ended: {process.returncode}"
        assert time.monotonic() < until, f"MLServer was not ready within {READY_S:g} s"
        await asyncio.sleep(0.2)
        with contextlib.suppress(OSError, TimeoutError):
            status, _ = await client.json("GET", "/v2/health/ready")
            ready = status == 200


async def _measure_mlserver(
    client: Client, pid: int, load_s: float, before: Memory, models: int
) -> Outcome:
    names = [f"m{number}" for number in range(models)]
    data = {"name": "x", "shape": [1, FEATURES], "datatype": "FP64", "data": [0.5] * FEATURES}

    async def each(path: str, document: object, chosen: list[str]) -> None:
        for name in chosen:
            status, _ = await client.json("POST", path.format(name), document, timeout_s=60)
            assert status == 200, (path, name, status)

    await each("/v2/models/{}/infer", {"inputs": [data]}, names)
    loaded = Memory(pss_bytes(pid), 1)
    kept = names[: int(models * KEPT)]
    await each("/v2/repository/models/{}/unload", {}, names[len(kept) :])
    await asyncio.sleep(10)
    after = Memory(pss_bytes(pid), 1)
    await each("/v2/models/{}/infer", {"inputs": [data]}, kept)
    return Outcome("MLServer", models, load_s, before, loaded, len(kept), after)

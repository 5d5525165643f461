"""What is stressed: the whole platform with signatures, and Multi Model Server 1.1.11 alone.

Both have the same models: a handler that sleeps, or uses the processor, for as long as a file of
the model says.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks import model_server
from benchmarks.sides import running_platform, signed_headers
from benchmarks.stress.load import Flood, Plan, Seen, Stream, read
from tests.support.models import make_archive, make_image
from tests.support.platform import Deployed, Platform

HANDLER = """
import time

class Service:
    def initialize(self, context):
        with open("work") as file:
            kind, seconds = file.read().split()
        self.work, self.seconds = {"sleep": time.sleep, "burn": burn}[kind], float(seconds)

    def handle(self, data, context):
        self.work(self.seconds)
        return ["done"]

def burn(seconds):
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass
"""
SMALL = 20  # models
WORK = {  # of each kind of model
    "sleeping": "sleep 0.001",
    "burning": "burn 0.001",
    "slow-sleeping": "sleep 2",
    "slow-burning": "burn 2",
    "twenty": "sleep 0.02",
}
MODELS = {f"{kind}-{n}": kind for kind in ("sleeping", "burning") for n in range(SMALL)}
MODELS |= {kind: kind for kind in WORK if kind not in ("sleeping", "burning")}
MMS = "job_queue_size=100\n"  # its own default
LOAD_TIMEOUT_S = 240.0


class Ours:
    """The platform, asked with signatures verified."""

    name = "modelplex"

    def __init__(self, platform: Platform, endpoint: Deployed) -> None:
        self.port = platform.port
        self._platform, self._path = platform, f"/endpoints/{endpoint.name}/invocations"

    def request(self, model: str) -> str:
        headers = {"X-Amzn-SageMaker-Target-Model": f"{model}.tar.gz"}
        signed = signed_headers(self._platform, self._path, headers, b"")
        host = f"Host: 127.0.0.1:{self.port}"
        head = [f"POST {self._path} HTTP/1.1", host, *signed]
        if not any(line.lower().startswith("content-length") for line in signed):
            head.append("Content-Length: 0")
        return "\r\n".join([*head, "", ""])

    def forget(self, model: str) -> None:
        """Nothing: requests whose clients have gone are not answered."""


class Theirs:
    """Multi Model Server, which asks for no signature."""

    name = "MMS"

    def __init__(self, side: model_server.Side) -> None:
        self.port = side.port
        self._side = side

    def request(self, model: str) -> str:
        head = [f"POST /models/{model}/invoke HTTP/1.1", f"Host: 127.0.0.1:{self.port}"]
        return "\r\n".join([*head, "Content-Length: 0", "", ""])

    def forget(self, model: str) -> None:
        """Does away with the queue of a model: it answers also those whose clients have gone."""
        self._side.unload(model)
        self._side.load(model, MODELS[model])


@contextmanager
def ours() -> Iterator[Ours | Theirs]:
    """`modelplex up` with one endpoint."""
    with running_platform() as platform:
        folder = platform.data.with_name("stress")
        image = make_image(folder, HANDLER, 'handler = "model_handler.py:Service"\n')
        platform.cli("build", "-t", "stress", str(image))
        archives = {kind: make_archive({"work": work}) for kind, work in WORK.items()}
        models = {f"{name}.tar.gz": archives[kind] for name, kind in MODELS.items()}
        yield _warm(Ours(platform, platform.deploy(models, image="stress")))


@contextmanager
def theirs() -> Iterator[Ours | Theirs]:
    """Multi Model Server with one worker for each model."""
    with tempfile.TemporaryDirectory(prefix="modelplex-bench-") as scratch:
        store = _store(Path(scratch) / "store")
        with model_server.running(
            "MMS", model_server.PEERS / "bin/multi-model-server", store, MMS
        ) as side:
            for name, kind in MODELS.items():
                side.load(name, kind)
            yield _warm(Theirs(side))


def _store(folder: Path) -> Path:
    for kind, work in WORK.items():
        (folder / kind / "MAR-INF").mkdir(parents=True)
        (folder / kind / "service.py").write_text(HANDLER)
        (folder / kind / "work").write_text(work)
        manifest = {"runtime": "python", "model": {"modelName": kind, "handler": "service"}}
        (folder / kind / "MAR-INF" / "MANIFEST.json").write_text(json.dumps(manifest))
    return folder


def _warm(side: Ours | Theirs) -> Ours | Theirs:
    """Asks every model twice: it is loaded then, and what its answers take is known."""
    requests = [side.request(model) for model in MODELS] * 2
    seen = send(side, [Stream("warm", requests, 20.0, 0.0, len(requests) / 20.0)])
    bad = [each for each in seen if each.status != 200]
    assert not bad, (side.name, bad[:3])
    return side


def send(
    side: Ours | Theirs, streams: Sequence[Stream], floods: Sequence[Flood] = ()
) -> list[Seen]:
    """Carries out a plan in a process of its own."""
    plan = Plan(side.port, list(streams), list(floods))
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.stress.load"],
        input=plan.text(),
        capture_output=True,
        text=True,
        check=True,
        timeout=LOAD_TIMEOUT_S,
        env=dict(os.environ),
    )
    return read(done.stdout.splitlines())

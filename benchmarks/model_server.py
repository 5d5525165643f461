"""The model server alone against Multi Model Server 1.1.11: same handlers, command line, Python.

Both are started with the same configuration and run their handlers in the same environment
(requirements/peers.txt); both write their logs to files. Everything is measured in turn, so that a
busy moment of the machine hits both. Memory is the PSS of the whole process tree.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks import floors
from benchmarks.sides import Load, wrk

ROOT = Path(__file__).parent.parent
PEERS = ROOT / ".venv-peers"
ROUNDS = 3
SECONDS = 3
SHAPES = [(size, connections) for size in (1024, 1024 * 1024) for connections in (1, 8, 32)]
COLD = 20  # models of a kind, loaded in turn on both sides
MANY = 200
HANDLERS = {
    "echo": "def handle(data, context):\n    return None if data is None else [data[0]['body']]\n",
    "sklearn": """
import json, pickle

class Service:
    def initialize(self, context):
        with open("model.pickle", "rb") as file:
            self.model = pickle.load(file)

    def handle(self, data, context):
        return [str(self.model.predict(json.loads(bytes(data[0]["body"])))[0])]
""",
    "mxnet": """
import mxnet as mx

class Service:
    def initialize(self, context):
        symbol, arguments, auxiliary = mx.model.load_checkpoint("net", 0)
        self.module = mx.mod.Module(symbol=symbol, label_names=None)
        self.module.bind(for_training=False, data_shapes=[("data", (1, 3, 224, 224))])
        self.module.set_params(arguments, auxiliary, allow_missing=True)

    def handle(self, data, context):
        batch = mx.io.DataBatch([mx.nd.ones((1, 3, 224, 224))])
        self.module.forward(batch)
        return [str(float(self.module.get_outputs()[0].asnumpy().max()))]
""",
}
BODIES = {"echo": b"x", "sklearn": b"[[5.1, 3.5, 1.4, 0.2]]", "mxnet": b"x"}
MAKE = """
import pickle, sys
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
pickle.dump(LogisticRegression(max_iter=500).fit(*load_iris(return_X_y=True)), open(sys.argv[1] + "/sklearn/model.pickle", "wb"))
import mxnet as mx
net = mx.gluon.model_zoo.vision.squeezenet1_0()
net.initialize(mx.init.Xavier())
net.hybridize()
net(mx.nd.ones((1, 3, 224, 224)))
net.export(sys.argv[1] + "/mxnet/net")
"""  # noqa: E501  a script for the peers' Python, which has the frameworks


@dataclass
class Side:
    """One running server."""

    name: str
    process: subprocess.Popen[bytes]
    port: int

    def call(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        try:
            connection.request(method, path, body)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def load(self, name: str, kind: str) -> float:
        """Loads a model; milliseconds until the answer."""
        query = f"/models?url={kind}&model_name={name}&initial_workers=1&synchronous=true"
        return self._timed("POST", query)

    def invoke(self, name: str, kind: str) -> float:
        """One prediction; milliseconds."""
        return self._timed("POST", f"/models/{name}/invoke", BODIES[kind])

    def unload(self, name: str) -> float:
        """Unloads a model; milliseconds until the answer."""
        return self._timed("DELETE", f"/models/{name}")

    def pss_mib(self) -> float:
        """Of the server and all its descendants."""
        return sum(map(_pss_kib, tree(self.process.pid))) / 1024

    def counts(self) -> tuple[int, int]:
        """Processes and threads."""
        pids = tree(self.process.pid)
        return len(pids), sum(len(os.listdir(f"/proc/{pid}/task")) for pid in pids)

    def _timed(self, method: str, path: str, body: bytes = b"") -> float:
        began = time.perf_counter()
        status, answer = self.call(method, path, body)
        took = (time.perf_counter() - began) * 1000
        assert status == 200, (self.name, method, path, status, answer)
        return took


def tree(root: int) -> list[int]:
    """A process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:  # gone
                continue
            children.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry.name))
    found = [root]
    for pid in found:
        found.extend(children.get(pid, []))
    return found


def _pss_kib(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


@contextmanager
def running(name: str, binary: Path, store: Path, extra: str = "") -> Iterator[Side]:
    """A server in the foreground until the block ends."""
    port = _low_port()
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=store.parent))
    (folder / "config.properties").write_text(
        f"inference_address=http://127.0.0.1:{port}\nmanagement_address=http://127.0.0.1:{port}\n"
        "default_workers_per_model=1\ndecode_input_request=false\njob_queue_size=1000\n" + extra
    )
    argv = [str(binary), "--start", "--foreground", "--model-store", str(store)]
    argv += ["--mms-config", str(folder / "config.properties")]
    logs = {"LOG_LOCATION": str(folder / "logs"), "METRICS_LOCATION": str(folder / "logs")}
    logs["TMPDIR"] = str(folder)  # where both keep the number of the process that runs
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            argv, cwd=folder, env=os.environ | logs, stdout=output, stderr=subprocess.STDOUT
        )
    side = Side(name, process, port)
    try:
        _await_ping(side, folder / "output")
        yield side
    finally:
        _end(process)


def _low_port() -> int:
    """A free port that Multi Model Server takes: it refuses those above 32,766."""
    for port in range(20_000, 32_000):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port between 20,000 and 32,000")


def _await_ping(side: Side, output: Path) -> None:
    for _ in range(600):
        assert side.process.poll() is None, output.read_text()
        try:
            if side.call("GET", "/ping")[0] == 200:
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"{side.name} did not start: {output.read_text()}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """The server, and whatever it leaves behind: MMS leaves its workers."""
    family = tree(process.pid)
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(40)
    finally:
        for pid in family:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def make_store(folder: Path) -> Path:
    """A model store with one folder per kind of model."""
    for kind, handler in HANDLERS.items():
        (folder / kind / "MAR-INF").mkdir(parents=True)
        (folder / kind / "service.py").write_text(handler)
        entry = "service.py:handle" if "def handle(data" in handler.split("class")[0] else "service"
        manifest = {"runtime": "python", "model": {"modelName": kind, "handler": entry}}
        (folder / kind / "MAR-INF" / "MANIFEST.json").write_text(json.dumps(manifest))
    subprocess.run([PEERS / "bin/python", "-W", "ignore", "-c", MAKE, folder], check=True)
    return folder


def run() -> str:
    """Measure; a Markdown section."""
    missing = [tool for tool in ("wrk", "java") if shutil.which(tool) is None]
    if missing or not PEERS.is_dir():
        need = ", ".join([*missing, *([] if PEERS.is_dir() else ["make peers"])])
        return f"## Model server\n\nNot measured: needs {need}.\n"
    with tempfile.TemporaryDirectory(prefix="modelplex-bench-") as scratch:
        store = make_store(Path(scratch) / "store")
        parts = []
        for measure in (_warm, _cold, _many):  # on fresh servers: what one learns helps no other
            with both(store) as sides:
                parts.append(measure(sides))
        return "\n".join(["## Model server", "", *parts])


@contextmanager
def both(store: Path) -> Iterator[list[Side]]:
    """The two servers, side by side."""
    python = f"python={PEERS / 'bin/python'}\n"
    ours = running("modelplex", ROOT / ".venv/bin/multi-model-server", store, python)
    with ours as first, running("MMS", PEERS / "bin/multi-model-server", store) as second:
        yield [first, second]


def _warm(sides: list[Side]) -> str:
    for side in sides:
        side.load("warm", "echo")
    rows = ["| body | connections | server | /s | p50 ms | p99 ms | ÷ MMS | ÷ one hop |"]
    rows.append("|---|--:|---|--:|--:|--:|--:|--:|")
    with floors.bare() as bare, floors.one_hop() as hop:
        urls = {"bare echo": bare, "one hop": hop}
        urls |= {side.name: f"http://127.0.0.1:{side.port}/models/warm/invoke" for side in sides}
        for size, connections in SHAPES:
            seen: dict[str, list[Load]] = {name: [] for name in urls}
            for _ in range(ROUNDS):
                for name, url in urls.items():
                    seen[name].append(wrk(url, [], b"x" * size, connections, SECONDS))
            rows += _warm_rows(size, connections, seen)
    for side in sides:
        side.unload("warm")
    title = f"### Warm echo\n\n`wrk -t1`, medians of {ROUNDS} rounds of {SECONDS} s, in turn."
    return "\n".join([title, "", *rows, ""])


def _warm_rows(size: int, connections: int, seen: dict[str, list[Load]]) -> list[str]:
    medians = {name: Load(*map(median, zip(*loads, strict=True))) for name, loads in seen.items()}
    rows = []
    for name, load in medians.items():
        ratios = [load.rate / medians[other].rate for other in ("MMS", "one hop")]
        times = f"{load.p50_ms:.2f} | {load.p99_ms:.2f} | {ratios[0]:.2f} | {ratios[1]:.2f}"
        rows.append(f"| {size // 1024} KB | {connections} | {name} | {load.rate:,.0f} | {times} |")
    return rows


def _cold(sides: list[Side]) -> str:
    rows = ["| model | server | load ms | first answer ms | unload ms | PSS MB each | load ÷ MMS |"]
    rows.append("|---|---|--:|--:|--:|--:|--:|")
    for kind in HANDLERS:
        count = COLD if kind != "mxnet" else 5
        seen = {side.name: _cold_side(side, kind, count) for side in sides}
        for name, row in seen.items():
            ratio = row[0] / seen["MMS"][0]
            rows.append(f"| {kind} | {name} | {_joined(row)} | {ratio:.3f} |")
    title = (
        f"### Cold loads\n\nMedians of {COLD} models (MXNet's SqueezeNet: 5), `POST /models` until "
        "200, while another model of the kind has been loaded for a while; memory with all loaded."
    )
    return "\n".join([title, "", *rows, ""])


def _cold_side(side: Side, kind: str, count: int) -> list[float]:
    side.load("known", kind)
    side.invoke("known", kind)
    time.sleep(8)  # modelplex's zygote imports what this model imported
    before = side.pss_mib()
    names = [f"{kind}{number}" for number in range(count)]
    columns = zip(
        *((side.load(name, kind), side.invoke(name, kind)) for name in names), strict=True
    )
    load, first = (median(column) for column in columns)
    each = (side.pss_mib() - before) / count
    unload = median(side.unload(name) for name in names)
    side.unload("known")
    return [load, first, unload, each]


def _joined(row: list[float]) -> str:
    return " | ".join(f"{value:.1f}" for value in row)


def _many(sides: list[Side]) -> str:
    rows = ["| server | s | PSS MB | processes | threads |", "|---|--:|--:|--:|--:|"]
    for side in sides:
        began = time.perf_counter()
        for number in range(MANY):
            side.load(f"many{number}", "echo")
        took = time.perf_counter() - began
        processes, threads = side.counts()
        rows.append(
            f"| {side.name} | {took:.1f} | {side.pss_mib():.0f} | {processes} | {threads} |"
        )
        for number in range(MANY):
            side.unload(f"many{number}")
    return "\n".join([f"### {MANY} echo models loaded", "", *rows, ""])

"""The servers of other people, each as its documentation has it run in production: one echo model,
one worker, logs to files and nothing at debug.

What each needs to run here at all is said where it is done. `scripts/peers.sh` installs them.
"""

from __future__ import annotations

import json
import shutil
import sysconfig
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from benchmarks import model_server
from benchmarks.model_server import ROOT, tree
from benchmarks.path.load import Ask
from benchmarks.path.sides import programs
from benchmarks.path.sides.ours import as_side, echo_store
from benchmarks.path.sides.side import Side, Unavailable, await_answer, call, end, spawn
from tests.support.processes import free_port

_START_S = 120.0
_LOAD_S = 180.0  # for all models
_PATH = "/usr/local/bin:/usr/bin:/bin"
_BYTES = "Content-Type: application/octet-stream"
_JSON = "Content-Type: application/json"


def _bin(name: str) -> Path:
    """Where a peer's commands are; Unavailable if it is not installed."""
    folder = ROOT / f".venv-peer-{name}"
    if not (folder / "installed.txt").exists():
        raise Unavailable(f"is not installed: scripts/peers.sh {name}")
    return folder / "bin"


def _java() -> None:
    if shutil.which("java") is None:
        raise Unavailable("needs Java 11 or newer")


@contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mp-peer-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@contextmanager
def _serving(
    name: str,
    argv: Sequence[str],
    folder: Path,
    *,
    port: int,
    ready: str,
    ask: Callable[[int, bytes], Ask],
    load: Callable[[int], None] | None = None,
    variables: Mapping[str, str] | None = None,
) -> Iterator[Side]:
    """A server until the block ends, from when it answers at `ready`."""
    process = spawn(argv, folder, variables or {})
    try:
        await_answer(process, port, ready, folder, _START_S)
        yield Side(name, port, ask, lambda: {"all": tuple(tree(process.pid))}, load)
    finally:
        end(process)


def _posting(port: int, path: str) -> Callable[[int], None]:
    """Loads models up to a number by a POST for each, but for the first, which is there."""
    loaded = 1

    def load(count: int) -> None:
        nonlocal loaded
        deadline = time.monotonic() + _LOAD_S
        while loaded < count:
            if time.monotonic() > deadline:
                raise Unavailable(f"only {loaded} models were loaded within {_LOAD_S:.0f} s")
            status, answer = call(port, "POST", path.format(loaded))
            assert status == 200, f"POST {path.format(loaded)}: {status} {answer[:300]!r}"
            loaded += 1

    return load


@contextmanager
def mms() -> Iterator[Side]:
    """Multi Model Server 1.1.11, as `benchmarks/model_server.py` starts it."""
    _java()
    binary = model_server.PEERS / "bin/multi-model-server"
    if not binary.exists():
        raise Unavailable("is not installed: scripts/peers.sh mms")
    with _scratch() as folder:
        store = echo_store(folder / "store")
        with model_server.running("MMS", binary, store) as running:
            yield as_side("MMS", running, ours=False)


@contextmanager
def torchserve() -> Iterator[Side]:
    """TorchServe: token authorization off, the model API on."""
    _java()
    binary = _bin("torchserve") / "torchserve"
    port, management = free_port(), free_port()
    with _scratch() as folder:
        store = _mar_store(folder / "store")
        properties = {
            "inference_address": f"http://127.0.0.1:{port}",
            "management_address": f"http://127.0.0.1:{management}",
            "metrics_address": f"http://127.0.0.1:{free_port()}",
            "grpc_inference_port": free_port(),
            "grpc_management_port": free_port(),
            "disable_token_authorization": "true",
            "enable_model_api": "true",
            "default_workers_per_model": 1,
            "job_queue_size": 1000,
        }
        lines = [f"{name}={value}" for name, value in properties.items()]
        (folder / "config.properties").write_text("\n".join(lines))
        argv = [str(binary), "--start", "--foreground", "--model-store", str(store)]
        argv += ["--ts-config", str(folder / "config.properties"), "--models", "m0=m0.mar"]
        logs = {"LOG_LOCATION": str(folder), "METRICS_LOCATION": str(folder)}
        logs |= {"TEMP": str(folder), "TMPDIR": str(folder)}
        logs["PATH"] = f"{binary.parent}:{_PATH}"  # it starts `python`

        def ask(number: int, body: bytes) -> Ask:
            return Ask(f"/predictions/m{number}", (_BYTES,), body)

        with _serving(
            "TorchServe", argv, folder, port=port, ready="/ping", ask=ask, variables=logs
        ) as side:
            yield side


def _mar_store(folder: Path) -> Path:
    folder.mkdir()
    model = {"modelName": "m0", "handler": "service.py", "modelVersion": "1.0"}
    manifest = {"runtime": "python", "model": model, "archiverVersion": "0.12.0"}
    with zipfile.ZipFile(folder / "m0.mar", "w") as archive:
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
        archive.writestr("service.py", programs.TORCHSERVE)
    return folder


@contextmanager
def mlserver() -> Iterator[Side]:
    """MLServer with one inference worker; JSON, as it carries bytes."""
    binary = _bin("mlserver") / "mlserver"
    port = free_port()
    with _scratch() as folder:
        settings = {"host": "127.0.0.1", "http_port": port, "grpc_port": free_port()}
        settings |= {"metrics_port": free_port(), "parallel_workers": 1, "debug": False}
        (folder / "settings.json").write_text(json.dumps(settings))
        (folder / "echo_runtime.py").write_text(programs.MLSERVER)
        _mlserver_model(folder, 0)
        add = _posting(port, "/v2/repository/models/m{}/load")

        def load(count: int) -> None:
            for number in range(1, count):
                _mlserver_model(folder, number)
            add(count)

        def ask(number: int, body: bytes) -> Ask:
            x = {"name": "x", "shape": [1], "datatype": "BYTES", "data": [body.decode()]}
            sent = json.dumps({"inputs": [x]}).encode()
            return Ask(f"/v2/models/m{number}/infer", (_JSON,), sent)

        argv = [str(binary), "start", str(folder)]
        path = {"PYTHONPATH": str(folder)}
        ready = "/v2/models/m0/ready"
        with _serving(
            "MLServer", argv, folder, port=port, ready=ready, ask=ask, load=load, variables=path
        ) as side:
            yield side


def _mlserver_model(folder: Path, number: int) -> None:
    (folder / f"m{number}").mkdir(exist_ok=True)
    settings = {"name": f"m{number}", "implementation": "echo_runtime.Echo"}
    (folder / f"m{number}" / "model-settings.json").write_text(json.dumps(settings))


@contextmanager
def litserve() -> Iterator[Side]:
    """LitServe with one worker and its fast queue; JSON, as its examples have it."""
    python = _bin("litserve") / "python"
    port = free_port()
    with _scratch() as folder:
        (folder / "app.py").write_text(programs.LITSERVE)

        def ask(_: int, body: bytes) -> Ask:
            return Ask("/predict", (_JSON,), json.dumps({"input": body.decode()}).encode())

        argv = [str(python), "app.py", str(port)]
        with _serving("LitServe", argv, folder, port=port, ready="/health", ask=ask) as side:
            yield side


@contextmanager
def ray() -> Iterator[Side]:
    """Ray Serve, multiplexed, behind its HAProxy, which is eight times as fast as its own proxy."""
    python = _bin("ray") / "python"
    port = free_port()
    with _scratch() as folder:
        (folder / "app.py").write_text(programs.RAY)
        variables = {"RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_USAGE_STATS_ENABLED": "0"}

        def ask(number: int, body: bytes) -> Ask:
            return Ask("/", (_BYTES, f"serve_multiplexed_model_id: m{number}"), body)

        argv = [str(python), "app.py", str(port), str(folder)]
        with _serving(
            "Ray", argv, folder, port=port, ready="/-/healthz", ask=ask, variables=variables
        ) as side:
            yield side


@contextmanager
def triton() -> Iterator[Side]:
    """Triton's Python backend; bodies raw, by its binary extension.

    The wheel keeps a stub per version of Python beside the backend, where it is not looked for, and
    the stub finds the interpreter's library only when told where.
    """
    commands = _bin("triton")
    packages = commands.parent / f"lib/python{sysconfig.get_python_version()}/site-packages"
    server = packages / "pytriton/tritonserver"
    port = free_port()
    with _scratch() as folder:
        _triton_model(folder / "models", 0)
        backends = _triton_backends(server, folder / "backends")
        add = _posting(port, "/v2/repository/models/m{}/load")

        def load(count: int) -> None:
            for number in range(1, count):
                _triton_model(folder / "models", number)
            add(count)

        def ask(number: int, body: bytes) -> Ask:
            return Ask(
                f"/v2/models/m{number}/infer", (_BYTES, "Inference-Header-Content-Length: 0"), body
            )

        argv = [str(server / "bin/tritonserver"), f"--model-repository={folder / 'models'}"]
        argv += [f"--backend-directory={backends}", "--model-control-mode=explicit"]
        argv += ["--load-model=m0", "--http-address=127.0.0.1", f"--http-port={port}"]
        argv += ["--allow-grpc=false", "--allow-metrics=false", "--log-info=false"]
        libraries = [sysconfig.get_config_var("LIBDIR"), packages / "nvidia_pytriton.libs"]
        variables = {
            "LD_LIBRARY_PATH": ":".join(map(str, libraries)),
            "PATH": f"{commands}:{_PATH}",  # the first python3 there is whose numpy it imports
        }
        ready = "/v2/health/ready"
        with _serving(
            "Triton", argv, folder, port=port, ready=ready, ask=ask, load=load, variables=variables
        ) as side:
            yield side


def _triton_backends(server: Path, folder: Path) -> Path:
    shutil.copytree(server / "backends", folder)
    stub = server / f"python_backend_stubs/{sysconfig.get_python_version()}"
    shutil.copytree(stub, folder / "python", dirs_exist_ok=True)
    return folder


def _triton_model(repository: Path, number: int) -> None:
    folder = repository / f"m{number}"
    (folder / "1").mkdir(parents=True, exist_ok=True)
    (folder / "config.pbtxt").write_text(programs.TRITON_CONFIG)
    (folder / "1" / "model.py").write_text(programs.TRITON)


PEERS: dict[str, Callable[[], AbstractContextManager[Side]]] = {
    "MMS": mms,
    "Triton": triton,
    "TorchServe": torchserve,
    "LitServe": litserve,
    "MLServer": mlserver,
    "Ray": ray,
}

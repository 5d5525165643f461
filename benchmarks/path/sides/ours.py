"""modelplex: the model server alone, and the whole platform, of this checkout or of another."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from botocore.exceptions import WaiterError

from benchmarks import model_server
from benchmarks.model_server import HANDLERS, ROOT, tree
from benchmarks.path.costs import Roles
from benchmarks.path.load import Ask
from benchmarks.path.sides.side import Side, Unavailable
from benchmarks.sides import signed_headers
from tests.support.models import make_archive, make_image
from tests.support.platform import Deployed, Platform
from tests.support.processes import processes_of

_CONTENT = "Content-Type: application/octet-stream"
_DOORS = ("gateway", "instance", "server")  # processes that a request passes, by module


@contextmanager
def importing(checkout: Path | None) -> Iterator[None]:
    """What is started within imports modelplex from a checkout; from this one if it is None."""
    old = os.environ.get("PYTHONPATH")
    if checkout is not None:
        os.environ["PYTHONPATH"] = str(checkout / "src")
    try:
        yield
    finally:
        if old is None:
            os.environ.pop("PYTHONPATH", None)
        else:
            os.environ["PYTHONPATH"] = old


def takes_unsigned(checkout: Path | None) -> bool:
    """Whether that checkout knows the setting; some from before it are measured too."""
    settings = (checkout or ROOT) / "src/modelplex/settings.py"
    return "unsigned_invocations" in settings.read_text()


def echo_store(folder: Path) -> Path:
    """A model store with the echo model, for every server that reads Multi Model Server's form."""
    (folder / "echo" / "MAR-INF").mkdir(parents=True)
    (folder / "echo" / "service.py").write_text(HANDLERS["echo"])
    model = {"modelName": "echo", "handler": "service.py:handle"}
    manifest = json.dumps({"runtime": "python", "model": model})
    (folder / "echo" / "MAR-INF" / "MANIFEST.json").write_text(manifest)
    return folder


@contextmanager
def server(checkout: Path | None = None) -> Iterator[Side]:
    """`multi-model-server`, ours, with one worker for each model."""
    with tempfile.TemporaryDirectory(prefix="modelplex-bench-") as scratch, ExitStack() as stack:
        store = echo_store(Path(scratch) / "store")
        binary = ROOT / ".venv/bin/multi-model-server"
        with importing(checkout):
            side = stack.enter_context(model_server.running("server", binary, store))
        yield as_side(_named("server", checkout), side, ours=True)


def as_side(name: str, running: model_server.Side, *, ours: bool) -> Side:
    """A server that speaks Multi Model Server's API, with its first model loaded."""
    loaded = 0

    def load(count: int) -> None:
        nonlocal loaded
        while loaded < count:
            running.load(f"m{loaded}", "echo")
            loaded += 1

    def roles() -> Roles:
        pids = tree(running.process.pid)
        return _roles(pids) if ours else {"all": tuple(pids)}

    load(1)
    return Side(
        name,
        running.port,
        lambda number, body: Ask(f"/models/m{number}/invoke", (_CONTENT,), body),
        roles,
        load,
        ours,
    )


@contextmanager
def platform(names: tuple[str, ...], checkout: Path | None = None) -> Iterator[list[Side]]:
    """The whole platform once, as the sides `signed` and `unsigned`, or those that are wanted."""
    options = ("--unsigned-invocations",) if "unsigned" in names else ()
    with tempfile.TemporaryDirectory(prefix="modelplex-bench-") as scratch:
        running = Platform(Path(scratch) / "data", *options)
        with importing(checkout):
            _start(running)
            try:
                deployed = _deployed(running)
                yield [_form(name, running, deployed, checkout) for name in names]
            finally:
                running.stop()


def _start(running: Platform) -> None:
    try:
        running.start()
    except AssertionError as error:
        raise Unavailable(f"the platform did not start: {str(error)[-800:]}") from error


def _deployed(running: Platform) -> Deployed:
    """An endpoint with one model."""
    image = make_image(running.data.with_name("image"), HANDLERS["echo"])
    try:
        running.cli("build", "-t", "echo", str(image))
        return running.deploy({"m0": make_archive({"number": "0"})}, image="echo")
    except (AssertionError, WaiterError) as error:
        raise Unavailable(f"no endpoint: {error}; {running.logs()[-800:]}") from error


def _form(name: str, running: Platform, deployed: Deployed, checkout: Path | None) -> Side:
    path = f"/endpoints/{deployed.name}/invocations"
    loaded = 1

    def ask(number: int, body: bytes) -> Ask:
        headers = {"X-Amzn-SageMaker-Target-Model": f"m{number}"}
        headers["Content-Type"] = "application/octet-stream"
        if name == "signed":
            return Ask(path, tuple(signed_headers(running, path, headers, body)), body)
        return Ask(path, tuple(f"{key}: {value}" for key, value in headers.items()), body)

    def load(count: int) -> None:
        nonlocal loaded
        for number in range(loaded, count):
            deployed.add(f"m{number}", make_archive({"number": str(number)}))
        loaded = max(loaded, count)
        runtime = running.client("sagemaker-runtime")
        for number in range(count):
            runtime.invoke_endpoint(EndpointName=deployed.name, TargetModel=f"m{number}", Body=b"x")

    return Side(
        _named(name, checkout),
        running.port,
        ask,
        lambda: _roles(list(processes_of(running.data))),
        load,
        ours=True,
    )


def _named(name: str, checkout: Path | None) -> str:
    return name if checkout is None else f"before: {name}"


def _roles(pids: list[int]) -> Roles:
    """Those of our processes that a request passes; a zygote and the control plane are not."""
    found: dict[str, list[int]] = {}
    for pid in pids:
        argv = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if Path(f"/proc/{pid}/comm").read_text().startswith("mp:"):
            found.setdefault("worker", []).append(pid)
        elif b"-m" in argv:
            module = argv[argv.index(b"-m") + 1].decode().removeprefix("modelplex.")
            if module in _DOORS:
                found.setdefault(module, []).append(pid)
    order = (*_DOORS, "worker")
    return {role: tuple(found[role]) for role in order if role in found}

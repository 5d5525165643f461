"""A platform in one process: control, an in-memory provider of fake instances, and boto3's door.

Everything speaks real HTTP: boto3 to a forwarder on loopback (the gateway without signatures),
the reconciler to fake instances on Unix sockets.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from modelplex.aws import shapes
from modelplex.control.app import Control
from modelplex.control.provider import Process, ProviderFailed
from modelplex.control.records import Records
from modelplex.http.client import Client
from modelplex.http.messages import Request, Response
from modelplex.http.server import Server, serve
from modelplex.settings import Settings
from tests.support.answers import check_answer

ROLE = "arn:aws:iam::123456789012:role/tester"
_SCOPE = re.compile(r"Credential=[^/]+/\d+/[^/]+/([a-z]+)/")


BUILDER = """
import json, os, sys, time
data = sys.argv[3]
say = lambda **news: print(json.dumps(news), flush=True)
say(step="requirements", detail="Collecting " + sys.argv[1])
while not (order := [each for each in os.listdir(data) if each.startswith("order-")]):
    time.sleep(0.01)
word, digest = order[0][6:].split("-")
if word == "fail":
    say(failed="pip install failed: no such thing")
elif word == "build":
    os.rename(os.path.join(data, "made"), os.path.join(data, "images", digest))
    say(built=digest)
sys.exit(0 if word == "build" else 1)
"""  # waits for a file in the data folder that says what is to become of the build


@dataclass
class Fake:
    """One fake instance: what it answers can be changed while it runs."""

    spec: dict[str, Any]
    ping: tuple[int, dict[str, Any]] = (200, {"status": "Healthy"})
    silent: bool = False
    models: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    rules: dict[str, Any] | None = None  # as it was told last
    refuses_rules: bool = False
    server: Server | None = None

    async def handle(self, request: Request) -> Response:
        if self.silent:
            await asyncio.sleep(3600)
        match request.path:
            case b"/ping":
                return self._json(*self.ping)
            case b"/report":
                report = {"id": self.spec["id"], "status": "Healthy", "pid": 1}
                return self._json(200, {**report, "models": self.models})
            case b"/rules":
                if self.refuses_rules:
                    return self._json(503, {})
                self.rules = json.loads(await request.body.read(10**6))
                return self._json(200, {})
            case b"/events":
                after = int(request.query.rpartition(b"=")[2])
                found = [event for event in self.events if event["n"] > after]
                return self._json(200, {"next": len(self.events), "events": found})
        return self._json(404, {})

    def _json(self, status: int, document: object) -> Response:
        return Response(status, [], json.dumps(document).encode())


class MemoryProvider:
    """The provider of tests. `prepare` is applied to each new fake instance."""

    def __init__(self) -> None:
        self.fakes: dict[str, Fake] = {}
        self.processes: dict[str, Process] = {}
        self.starts: list[str] = []
        self.forgotten: list[str] = []
        self.prepare: Callable[[Fake], None] = lambda fake: None
        self.refuse = ""  # a reason why nothing can be started
        self.dies = ""  # how every new process ends at once
        self.may_stop = asyncio.Event()
        self.may_stop.set()
        self._pids = iter(range(1000, 10**9))
        self._changed = asyncio.Event()

    async def start(self, spec: dict[str, Any]) -> None:
        name = spec["id"]
        self.starts.append(name)
        if self.refuse:
            raise ProviderFailed(self.refuse)
        if name in self.fakes:
            return
        running = Process(True, next(self._pids), time.time())
        if self.dies:
            self._set(name, replace(running, running=False, last_exit=self.dies))
            return
        fake = Fake(spec)
        self.prepare(fake)
        fake.server = await serve(fake.handle, f"unix:{spec['socket']}")
        self.fakes[name] = fake
        self._set(name, running)

    async def stop(self, instance: str, forget: bool) -> None:
        await self.may_stop.wait()
        await self._end(instance)
        if forget:
            self.forgotten.append(instance)
        if self.processes.pop(instance, None) is not None:
            self._ring()

    async def watch(self) -> AsyncIterator[Mapping[str, Process]]:
        while True:
            changed = self._changed
            yield dict(self.processes)
            await changed.wait()

    async def kill(self, instance: str, how: str = "killed by SIGKILL") -> None:
        """End an instance behind everyone's back."""
        await self._end(instance)
        self._set(instance, replace(self.processes[instance], running=False, last_exit=how))

    async def close(self) -> None:
        for name in list(self.fakes):
            await self._end(name)

    async def _end(self, name: str) -> None:
        fake = self.fakes.pop(name, None)
        if fake is not None and fake.server is not None:
            await fake.server.close(0.0)

    def _set(self, name: str, process: Process) -> None:
        self.processes[name] = process
        self._ring()

    def _ring(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class World:
    """One running platform. boto3 runs in threads; answers are checked against the model."""

    def __init__(self, data: Path, settings: Settings) -> None:
        self.data = data
        self.settings = settings
        self.provider = MemoryProvider()
        self.control: Control
        self.builder: tuple[str, ...] = (sys.executable, "-c", BUILDER)
        self.port = 0
        self._reconciling: asyncio.Task[None] | None = None
        self.records: Records | None = None

    def start_control(self) -> None:
        """Start control over what the data folder and the provider hold."""
        self.records = Records(self.data / "records.sqlite")
        self.control = Control(self.settings, self.provider, self.records, self.builder)
        self._reconciling = asyncio.create_task(self.control.run())

    async def stop_control(self) -> None:
        """End control as a kill would: instances and records stay as they are."""
        assert self._reconciling is not None
        assert self.records is not None
        self._reconciling.cancel()
        with suppress(asyncio.CancelledError):
            await self._reconciling
        self.records.close()

    async def forward(self, request: Request) -> Response:
        """What the gateway does with a request that is for control."""
        if request.path.startswith(b"/modelplex/"):
            return await self.control.handle(request)
        scope = _SCOPE.search(request.header(b"authorization").decode())
        assert scope
        service = scope[1]
        headers = [*request.headers, (b"x-amzn-requestid", str(uuid.uuid4()).encode())]
        inner = Request("POST", b"/aws/" + service.encode(), headers, request.body, "test")
        answer = await self.control.handle(inner)
        if answer.status == 200 and service in ("sagemaker", "logs"):
            operation = request.header(b"x-amz-target").decode().rpartition(".")[2]
            assert isinstance(answer.body, bytes)
            check_answer(shapes.load(service), operation, json.loads(answer.body))
        return answer

    def client(self, service: str) -> Any:
        """A boto3 client whose every call goes to this world, unchecked by botocore itself."""
        return client_of(service, self.port)

    async def aws(self, service: str, operation: str, **members: Any) -> Any:
        """One call of boto3."""
        call = getattr(self.client(service), operation)
        return await asyncio.to_thread(call, **members)

    async def sm(self, operation: str, **members: Any) -> Any:
        """One call of boto3's sagemaker client."""
        return await self.aws("sagemaker", operation, **members)

    async def model(self, name: str = "model", **container: Any) -> Any:
        """CreateModel of a usual multi-model container, with changes; None leaves a member out."""
        usual = {"Image": "echo", "Mode": "MultiModel", "ModelDataUrl": "s3://bucket/prefix/"}
        members = {key: value for key, value in {**usual, **container}.items() if value is not None}
        return await self.sm(
            "create_model", ModelName=name, PrimaryContainer=members, ExecutionRoleArn=ROLE
        )

    async def config(self, name: str = "config", model: str = "model", **variant: Any) -> Any:
        """CreateEndpointConfig of one variant, with changes."""
        usual = {
            "VariantName": "AllTraffic",
            "ModelName": model,
            "InitialInstanceCount": 1,
            "InstanceType": "ml.m5.large",
        }
        members = {key: value for key, value in {**usual, **variant}.items() if value is not None}
        return await self.sm(
            "create_endpoint_config", EndpointConfigName=name, ProductionVariants=[members]
        )

    async def endpoint(self, name: str = "endpoint", **variant: Any) -> None:
        """A model, its configuration and an endpoint of it, just promised."""
        await self.model(f"{name}-model")
        await self.config(f"{name}-config", f"{name}-model", **variant)
        await self.sm("create_endpoint", EndpointName=name, EndpointConfigName=f"{name}-config")

    async def in_service(self, name: str = "endpoint", **variant: Any) -> None:
        """An endpoint that is in service."""
        await self.endpoint(name, **variant)
        await self.until(name, "InService")

    async def until(self, name: str, status: str) -> dict[str, Any]:
        """The endpoint's description once it has a status."""
        async with asyncio.timeout(30):
            while True:
                found: dict[str, Any] = await self.sm("describe_endpoint", EndpointName=name)
                if found["EndpointStatus"] == status:
                    return found
                await asyncio.sleep(0.02)

    async def doors(self, method: str, path: str, document: object = None) -> tuple[int, Any]:
        """One of the doors under /modelplex/."""
        client = Client(f"tcp:127.0.0.1:{self.port}")
        try:
            return await client.json(method, path, document)
        finally:
            await client.close()


async def until(condition: Callable[[], object], limit_s: float = 30.0) -> None:
    """Wait for a condition; TimeoutError when it never holds."""
    async with asyncio.timeout(limit_s):
        while not condition():  # noqa: ASYNC110 - conditions here have no events
            await asyncio.sleep(0.01)


@cache
def client_of(service: str, port: int) -> Any:
    """Clients are slow to make, so all worlds of a process listen on one port, one by one."""
    return boto3.client(
        service,
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name="us-west-2",
        aws_access_key_id="AKIATEST",
        aws_secret_access_key="secret",
        config=Config(retries={"max_attempts": 0}, parameter_validation=False),
    )


_ports = [0]


async def _listen(found: World) -> Server:
    try:
        server = await serve(found.forward, f"tcp:127.0.0.1:{_ports[0]}")
    except OSError:  # somebody else took it meanwhile
        server = await serve(found.forward, "tcp:127.0.0.1:0")
    assert server.port is not None
    _ports[0] = found.port = server.port
    return server


def make_image(data: Path, name: str = "echo", digest: str = "0" * 64) -> None:
    """A built image as far as control looks at it."""
    folder = data / "images" / digest
    folder.mkdir(parents=True)
    document = {
        "python": "3.11",
        "handler": "handler.py:handle",
        "preload": ["json"],
        "environment": {"FROM_IMAGE": "image", "BOTH": "image"},
        "built_at": 1.0,
    }
    (folder / "image.json").write_text(json.dumps(document))
    refs = data / "images" / "refs.json"
    known = json.loads(refs.read_text()) if refs.exists() else {}
    refs.write_text(json.dumps({**known, f"{name}:latest": digest}))


@asynccontextmanager
async def world(**settings: Any) -> AsyncIterator[World]:
    """A running world with the image `echo`; ended and removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="mp-") as folder:
        data = Path(folder)
        for name in ("run", "logs", "instances"):
            (data / name).mkdir()
        (data / "run" / "s3.json").write_text('{"address": "tcp:127.0.0.1:9"}')
        make_image(data)
        usual = {"memory_mib": 64 * 1024, "disk_mib": 1024, "ping_interval_s": 0.05}
        usual |= {"container_engine": "off", "access_key": "AKIATEST", "secret_key": "secret"}
        found = World(data, Settings(data=data, **{**usual, **settings}))
        found.start_control()
        server = await _listen(found)
        try:
            yield found
        finally:
            await server.close(0.0)
            await found.stop_control()
            await found.provider.close()

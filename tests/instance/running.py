"""A real S3 server and a real instance process, as tests start, speak to and kill them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from modelplex.http.client import Client
from modelplex.lanes.lane import Lane
from modelplex.lanes.wire import path_beside
from modelplex.settings import Settings
from modelplex.workers.invocations import pack
from tests.support.lanes import Caller, Reply
from tests.support.models import make_archive
from tests.support.processes import eventually, free_port, processes_of, tail

__all__ = ["KEYS", "Reply", "Running", "S3Server"]

MIB = 1024 * 1024
KEYS = {"access_key": "AKIAINSTANCETEST", "secret_key": "a-secret-of-tests"}


class S3Server:
    """`rclone serve s3` over `folder`, with signatures; objects are put as plain files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._process = subprocess.Popen(
            [
                *("setpriv", "--pdeathsig", "KILL", str(Path(sys.executable).with_name("rclone"))),
                *("serve", "s3", str(self.folder), "--addr", f"127.0.0.1:{self.port}"),
                *("--dir-cache-time", "0s"),  # files are put beside it, not through it
            ],
            env={**os.environ, "RCLONE_AUTH_KEY": f'"{",".join(KEYS.values())}"'},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        eventually(self._answers, what="rclone answers")

    def pause(self) -> None:
        """SIGSTOP: it takes connections and says nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(timeout=30)

    def put(self, bucket: str, key: str, data: bytes) -> None:
        """One object."""
        path = self.folder / bucket / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


class Running:
    """One instance as a process of its own, over a bucket of its own."""

    def __init__(self, home: Path, s3: S3Server, image: Path, changes: dict[str, Any]) -> None:
        self.s3 = s3
        self.bucket = f"b{uuid.uuid4().hex[:12]}"
        self.home = home
        (s3.folder / self.bucket).mkdir(exist_ok=True)
        limits = Settings().as_document() | changes.pop("limits", {})
        self.spec = self._spec(image, limits) | changes
        self._client: Client | None = None
        self._lane: Caller | None = None
        self.process: subprocess.Popen[bytes] | None = None

    def _spec(self, image: Path, limits: dict[str, Any]) -> dict[str, Any]:
        return {
            "id": "i-0123456789abcdef0",
            "endpoint": "demo",
            "variant": "AllTraffic",
            "account": "123456789012",
            "region": "us-west-2",
            "socket": str(self.home / "i.sock"),
            "folder": str(self.home / "instance"),
            "log_group": "/aws/sagemaker/Endpoints/demo",
            "log_stream": "AllTraffic/i-0123456789abcdef0",
            "log_folder": str(self.home / "logs"),
            "image": {
                "name": "echo:latest",
                "folder": str(image),
                "python": sys.executable,
                "handler": "model_handler.py:handle",
                "preload": [],
            },
            "environment": {},
            "mode": "MultiModel",
            "cache": "Enabled",
            "model_data_url": f"s3://{self.bucket}/models/",
            "memory_bytes": 512 * MIB,
            "disk_bytes": 512 * MIB,
            "vcpus": 2.0,
            "s3": {"endpoint": self.s3.endpoint, "region": "us-west-2", **KEYS},
            "file_roots": [],
            "limits": limits,
        }

    @property
    def client(self) -> Client:
        """This event loop's client of it."""
        if self._client is None:
            self._client = Client(f"unix:{self.spec['socket']}")
        return self._client

    @property
    def lane(self) -> Caller:
        """This event loop's lane to it."""
        if self._lane is None:
            self._lane = Caller(Lane(path_beside(self.spec["socket"]), 64 * MIB))
        return self._lane

    async def leave(self) -> None:
        """Close the client; the process goes on."""
        if self._lane is not None:
            self._lane.close()
            self._lane = None
        if self._client is not None:
            await self._client.close()
            self._client = None

    # -- its life -----------------------------------------------------------------------------

    def start(self) -> None:
        """Start the process; `healthy` waits for it."""
        path = self.home / "spec.json"
        path.write_text(json.dumps(self.spec))
        with (self.home / "instance.err").open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "modelplex.instance", str(path)],
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
            )

    def start_below_a_parent(self) -> subprocess.Popen[bytes]:
        """Start it as the child of another process, which is returned."""
        code = (
            "import subprocess, sys, time; "
            "subprocess.Popen([sys.executable, '-m', 'modelplex.instance', sys.argv[1]]); "
            "time.sleep(600)"
        )
        command = [sys.executable, "-c", code, str(self.home / "spec.json")]
        return subprocess.Popen(command, stderr=subprocess.DEVNULL)

    async def ping(self) -> tuple[int, Any]:
        """Status and document of `/ping`; (0, reason) while nobody answers."""
        try:
            return await self.client.json("GET", "/ping", timeout_s=10)
        except OSError as error:
            return 0, str(error)

    async def until_ping(self, wanted: int, status: str) -> Any:
        """Wait for a ping of that HTTP status and "status"; its document."""

        async def check() -> bool:
            code, document = await self.ping()
            return code == wanted and document["status"] == status

        await self.until(check)
        return (await self.ping())[1]

    async def healthy(self) -> Running:
        """Wait until it is."""
        await self.until_ping(200, "Healthy")
        return self

    def stop(self) -> int:
        """SIGTERM; the exit status. Nothing of it may be left."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.terminate()
        status = self.process.wait(60)
        self.expect_gone()
        return status

    def kill(self) -> None:
        """SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(60)

    def expect_gone(self) -> None:
        """Wait until no process of it is left."""
        eventually(lambda: not processes_of(self.home), what=f"{processes_of(self.home)} ended")

    def errors(self) -> str:
        """What it wrote to stderr."""
        return tail(self.home / "instance.err")

    async def until(self, check: Callable[[], Awaitable[object]]) -> None:
        """Wait until the check gives something true."""
        deadline = time.monotonic() + 60
        while not await check():
            assert time.monotonic() < deadline, f"never became true\n{self.errors()}"
            await asyncio.sleep(0.01)

    # -- speaking to it -----------------------------------------------------------------------

    def put(self, model: str, weights: str = "", **files: str | bytes) -> None:
        """Upload a model that answers with `weights`, its own name if none are given."""
        archive = make_archive({"weights.txt": weights or model, **files})
        self.s3.put(self.bucket, f"models/{model}", archive)

    async def invoke(self, model: str | None, body: bytes = b"", **headers: str) -> Reply:
        """One request as a gateway brings it; header names with "_" for "-"."""
        sent = {k.replace("_", "-").encode(): v.encode() for k, v in headers.items()}
        if model is not None:
            sent[b"x-amzn-sagemaker-target-model"] = model.encode()
        request_id = sent.pop(b"x-amzn-requestid", b"no-id")
        return await self.lane.ask(model, request_id, pack(list(sent.items())), body)

    async def report(self) -> dict[str, Any]:
        """`/report`."""
        _, document = await self.client.json("GET", "/report")
        return dict(document)

    async def until_row(self, model: str, **facts: object) -> None:
        """Wait until a model's row says so."""

        async def check() -> bool:
            return facts.items() <= (await self.row(model)).items()

        await self.until(check)

    async def row(self, model: str) -> dict[str, Any]:
        """A model's row of the report; empty if there is none."""
        rows = (await self.report())["models"]
        return next((dict(row) for row in rows if row["model"] == model), {})

    async def events(self, *kinds: str) -> list[dict[str, Any]]:
        """`/events`, all or those of some kinds."""
        _, document = await self.client.json("GET", "/events?after=0")
        return [event for event in document["events"] if not kinds or event["event"] in kinds]

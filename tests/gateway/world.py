"""What stands around a gateway in its tests: real servers on real sockets, invented answers."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from modelplex.aws.signatures import Keys, payload_hash, sign
from modelplex.http.client import Client, ClientResponse
from modelplex.http.messages import (
    Body,
    Handler,
    Header,
    Request,
    Response,
    encode_headers,
    first,
)
from modelplex.http.server import Server, serve
from modelplex.lanes.landing import Asked, Landing
from modelplex.lanes.wire import Answer, Told, path_beside, unpack

KEYS = Keys("AKIATESTTESTTESTTEST", "a-secret-that-only-tests-know")
REGION = "us-west-2"


@dataclass
class Gateway:
    """A running gateway."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def boto3(self, service: str, keys: Keys = KEYS, **config: Any) -> Any:
        """An ordinary client; its calls block, so tests make them in threads."""
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=keys.access_key,
            aws_secret_access_key=keys.secret_key,
            config=Config(retries={"total_max_attempts": 1}, read_timeout=30, **config),
        )

    async def signed(
        self, method: str, target: str, headers: list[Header], body: bytes, service: str
    ) -> tuple[ClientResponse, bytes]:
        """One signed request without boto3's own opinions."""
        signed = sign(
            method,
            self.url + target,
            headers,
            payload_hash(body),
            KEYS,
            service,
            REGION,
            time.time(),
        )
        return await self.raw(method, target, signed, body)

    async def raw(
        self, method: str, target: str, headers: list[Header], body: bytes = b""
    ) -> tuple[ClientResponse, bytes]:
        """One request as it is."""
        client = Client(f"tcp:127.0.0.1:{self.port}")
        try:
            response = await client.request(method, target.encode(), headers, body)
            return response, await response.read(10**8)
        finally:
            await client.close()


@dataclass
class FakeInstance:
    """Answers invocations with its own name, unless told otherwise.

    `handler` sees them as requests; of its answer, x-modelplex-start and the handler's time in
    server-timing are what the gateway is told, and a bare 503 means "not ready".
    """

    id: str
    path: Path
    handler: Handler | None = None
    seen: list[Request] = field(default_factory=list)
    asked: Asked | None = None  # the newest
    landing: Landing | None = None
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self) -> None:
        self.landing = Landing(path_beside(str(self.path)), self._take, 10**8)

    def _take(self, asked: Asked) -> None:
        task = asyncio.create_task(self._answer(asked))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        asked.on_leave = task.cancel

    async def _answer(self, asked: Asked) -> None:
        _, request_id, packed = asked.head
        headers = [*unpack(packed), (b"x-amzn-requestid", request_id)]
        body = Body.of(bytes(asked.body))
        request = Request("POST", b"/", headers, body, "")
        self.asked = asked
        self.seen.append(request)
        response = await self._handle(request)
        if response.status == 503 and not first(response.headers, b"x-amzn-errortype"):
            asked.unready("not ready")
            return
        timing = first(response.headers, b"server-timing").rpartition(b"handle;dur=")[2]
        start = first(response.headers, b"x-modelplex-start").decode()
        told = Told(start, float(timing or 0) / 1000, 0.0, 0.0)
        lines = encode_headers([(b"x-amzn-requestid", request_id), *response.headers])
        assert isinstance(response.body, bytes)
        asked.answer(Answer(response.status, told, lines, response.body))

    async def _handle(self, request: Request) -> Response:
        if self.handler is not None:
            return await self.handler(request)
        body = await request.body.read(10**8)
        return Response(200, [(b"content-type", b"text/plain")], self.id.encode() + b":" + body)

    async def stop(self) -> None:
        """Goes away at once, running requests and all."""
        if self.landing is not None:
            landing, self.landing = self.landing, None
            await landing.close(0)

    def row(self, healthy: bool = True) -> dict[str, Any]:
        """Its row in a snapshot."""
        return {"id": self.id, "socket": str(self.path), "healthy": healthy}


@dataclass
class FakeControl:
    """Publishes snapshots and answers AWS calls with what it was sent."""

    path: Path
    endpoints: dict[str, Any] = field(default_factory=dict)
    seen: list[tuple[Request, bytes]] = field(default_factory=list)
    server: Server | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    streams: bool = True

    async def start(self) -> None:
        self.server = await serve(self._handle, f"unix:{self.path}")

    async def stop(self) -> None:
        if self.server is not None:
            server, self.server = self.server, None
            await server.close(0)

    def publish(self, name: str, *instances: dict[str, Any], **changes: Any) -> None:
        """An endpoint of one multi-model variant, in service unless `changes` say otherwise."""
        variant = {
            "name": "AllTraffic",
            "weight": 1.0,
            "mode": "MultiModel",
            "multi_model": True,
            "instances": list(instances),
        }
        self.endpoints[name] = {
            "arn": f"arn:aws:sagemaker:us-west-2:123456789012:endpoint/{name}",
            "status": "InService",
            "variants": [variant],
        } | changes
        self.changed.set()
        self.changed = asyncio.Event()

    def _line(self) -> bytes:
        return json.dumps({"version": 1, "endpoints": self.endpoints}).encode() + b"\n"

    async def _follow(self) -> AsyncIterator[bytes]:
        while True:
            changed = self.changed
            yield self._line()
            await changed.wait()

    async def _handle(self, request: Request) -> Response:
        body = await request.body.read(10**8)
        self.seen.append((request, body))
        match request.path:
            case b"/snapshots" if self.streams:
                return Response(200, [], self._follow())
            case b"/snapshot":
                return Response(200, [], self._line())
            case b"/snapshots":
                return Response(503)
        names = {name.decode(): value.decode() for name, value in request.headers}
        document = {"path": request.target.decode(), "headers": names, "body": body.decode()}
        return Response(
            200, [(b"content-type", b"application/x-amz-json-1.1")], json.dumps(document).encode()
        )

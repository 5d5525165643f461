"""The registry's door: real HTTP in front, a small store and a control that knows two names."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from modelplex.ecr import tokens
from modelplex.http.client import Client
from modelplex.http.messages import Header, Request, Response, explain
from modelplex.http.server import Server, serve
from modelplex.registry.door import Door
from modelplex.registry.parts import Part
from modelplex.settings import Settings
from tests.ecr import layout

KEY = "a-secret-key"
NOW = 1_800_000_000.0
DOCUMENT = json.dumps(layout.manifest()).encode()


def basic(user: str, password: str) -> Header:
    """What a client sends that has a user and a password."""
    return b"authorization", b"Basic " + base64.b64encode(f"{user}:{password}".encode())


LOGIN = basic("AWS", tokens.issue(KEY, NOW)[0])


@dataclass
class Behind:
    """A store that tells what it got, and a control that knows `demo` and `fixed`."""

    seen: list[Request] = field(default_factory=list)
    bodies: list[str] = field(default_factory=list)  # their digests

    async def store(self, request: Request) -> Response:
        digest = hashlib.sha256()
        async for piece in request.body:
            digest.update(piece)
        self.seen.append(request)
        self.bodies.append(digest.hexdigest())
        if request.method == "POST":
            return Response(202, [(b"location", b"/v2/demo/blobs/uploads/1?_state=x")])
        if b"/blobs/sha256" in request.path:
            return Response(200, [], self._layer())
        return Response(200, [(b"docker-distribution-api-version", b"registry/2.0")], b"{}")

    @staticmethod
    async def _layer() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield b"x" * 65536

    async def control(self, request: Request) -> Response:
        name = request.path.decode().removeprefix("/repositories/")
        if name not in ("demo", "team/fixed"):
            return explain(404, "no")
        body = json.dumps({"name": name, "immutable": name == "team/fixed"})
        return Response(200, [], body.encode())


@dataclass
class Registry:
    """A door that runs, and what is behind it."""

    behind: Behind
    client: Client
    data: Path
    store: Server

    async def ask(
        self, method: str, target: str, *headers: Header, body: Any = b""
    ) -> tuple[int, list[Header], bytes]:
        """One request, with the platform's token unless it brings other credentials."""
        named = list(headers) if any(h[0] == b"authorization" for h in headers) else [LOGIN]
        answer = await self.client.request(method, target.encode(), [*named, *headers], body)
        return answer.status, answer.headers, await answer.read(10**8)

    async def refused(self, method: str, target: str, **members: Any) -> tuple[int, str, str]:
        """Status, code and message of a refusal."""
        status, _, body = await self.ask(method, target, **members)
        (error,) = json.loads(body)["errors"]
        return status, error["code"], error["message"]


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    """A door with patience for a moment."""
    behind = Behind()
    store = await serve(behind.store, f"unix:{tmp_path}/store.sock")
    control = await serve(behind.control, f"unix:{tmp_path}/control.sock")
    settings = Settings(data=tmp_path, registry=True, registry_port=5000, secret_key=KEY)
    clients = [Client(f"unix:{tmp_path}/{name}.sock") for name in ("store", "control")]
    parts = [
        Part(name, client, 0.2) for name, client in zip(("Store", "Control"), clients, strict=True)
    ]
    door = await serve(Door(settings, parts[0], parts[1], lambda: NOW).handle, "tcp:127.0.0.1:0")
    clients.append(Client(f"tcp:127.0.0.1:{door.port}"))
    yield Registry(behind, clients[-1], tmp_path, store)
    await asyncio.gather(*(client.close() for client in clients))
    await asyncio.gather(*(server.close(0) for server in (door, store, control)))


# -- who comes in -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "credentials",
    [
        (b"authorization", b""),
        (b"authorization", b"Bearer x"),
        (b"authorization", b"Basic ???"),
        basic("AWS", "guess"),
        basic("root", tokens.issue(KEY, NOW)[0]),
        basic("AWS", tokens.issue("another-key", NOW)[0]),
    ],
)
async def test_a_client_without_our_token_is_asked_for_it(
    registry: Registry, credentials: Header
) -> None:
    """As HTTP has it, so that `docker` sends what it was given at its login."""
    status, headers, body = await registry.ask("GET", "/v2/", credentials)
    assert status == 401
    assert dict(headers)[b"www-authenticate"].startswith(b'Basic realm="http://127.0.0.1:5000/"')
    assert json.loads(body)["errors"][0]["code"] == "UNAUTHORIZED"
    assert not registry.behind.seen


async def test_an_expired_token_is_told_from_a_wrong_one(registry: Registry) -> None:
    """403, as ECR answers it."""
    old = basic("AWS", tokens.issue(KEY, NOW - 12 * 3600)[0])
    status, _, body = await registry.ask("GET", "/v2/", old)
    assert status == 403
    assert "token has expired" in json.loads(body)["errors"][0]["message"]


async def test_a_login_is_answered_by_the_store(registry: Registry) -> None:
    """Which never sees the token."""
    status, headers, _ = await registry.ask("GET", "/v2/")
    assert status == 200
    assert dict(headers)[b"docker-distribution-api-version"] == b"registry/2.0"
    assert not registry.behind.seen[0].header(b"authorization")


# -- where to -----------------------------------------------------------------------------------


async def test_a_repository_has_to_be_created_first(registry: Registry) -> None:
    """As in ECR, in its words."""
    assert await registry.refused("POST", "/v2/nope/blobs/uploads/") == (
        404,
        "NAME_UNKNOWN",
        "The repository with name 'nope' does not exist in the registry with id '123456789012'",
    )
    assert (await registry.refused("GET", "/debug/pprof"))[0] == 404
    assert not registry.behind.seen


async def test_bodies_stream_both_ways(registry: Registry) -> None:
    """In pieces of any number, with query, range and Location as they are."""

    async def layer() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"y" * 100_000

    status, headers, _ = await registry.ask("POST", "/v2/demo/blobs/uploads/")
    assert status == 202
    location = dict(headers)[b"location"].decode()
    status, _, _ = await registry.ask("PATCH", location, (b"content-range", b"0-9"), body=layer())
    assert status == 200
    assert registry.behind.seen[-1].query == b"_state=x"
    assert registry.behind.seen[-1].header(b"content-range") == b"0-9"
    assert registry.behind.bodies[-1] == hashlib.sha256(b"y" * 10_000_000).hexdigest()
    _, _, body = await registry.ask("GET", "/v2/demo/blobs/sha256:" + "0" * 64)
    assert body == b"x" * 65536 * 64


async def test_a_tag_of_an_immutable_repository_stays(registry: Registry) -> None:
    """The same image may be pushed again, and another one under another tag."""
    target = "/v2/team/fixed/manifests/v1"
    assert (await registry.ask("PUT", target, body=DOCUMENT))[0] == 200
    layout.push(registry.data / "registry", "team/fixed", layout.manifest(), "v1")
    assert (await registry.ask("PUT", target, body=DOCUMENT))[0] == 200
    status, code, message = await registry.refused("PUT", target, body=b"{}")
    assert (status, code) == (400, "TAG_INVALID")
    assert "'v1' already exists in the 'team/fixed' repository" in message
    assert (await registry.ask("PUT", "/v2/team/fixed/manifests/v2", body=b"{}"))[0] == 200
    assert (await registry.ask("PUT", "/v2/demo/manifests/v1", body=b"{}"))[0] == 200
    status, code, _ = await registry.refused("PUT", target, body=b"x" * (4 * 2**20 + 1))
    assert (status, code) == (413, "MANIFEST_INVALID")
    digests = [hashlib.sha256(body).hexdigest() for body in (DOCUMENT, DOCUMENT, b"{}", b"{}")]
    assert registry.behind.bodies == digests


async def test_a_store_that_is_away_is_said_to_be(registry: Registry) -> None:
    """503, which clients try again; the ping says so too."""
    status, _, _ = await registry.ask("GET", "/ping")
    assert status == 200
    await registry.store.close(0)
    assert (await registry.refused("GET", "/v2/"))[:2] == (503, "UNAVAILABLE")
    status, _, _ = await registry.ask("GET", "/ping")
    assert status == 503

"""A container inside the test's own process: a Runner and its server, as the test scripts them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from modelplex.http.messages import Request, Response
from modelplex.http.server import Server, ServerLimits, serve
from modelplex.instance.containers.container import Terms
from modelplex.instance.containers.runner import Ended, Surroundings
from modelplex.settings import Settings
from modelplex.workers.errors import StartFailed

MIB = 1024 * 1024
SERVER_LIMITS = ServerLimits(
    headers_bytes_max=65536, idle_timeout_s=60, request_read_timeout_s=60, connections_max=64
)


class Script:
    """What all lives of one container have in common. `replies` go first, by method and path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.brings: list[str] = []  # models that it loads by itself
        self.fails_to_start = self.dies_at_start = False
        self.page = 100  # models per page
        self.model_bytes = 10 * MIB
        self.keeps_what_fails = False  # as Multi Model Server does after a 507
        self.replies: dict[tuple[str, str], list[int]] = {}
        self.hangs: set[tuple[str, str]] = set()  # never answered
        self.asked: list[tuple[str, str]] = []
        self.headers: list[dict[bytes, bytes]] = []
        self.lives: list[Fake] = []

    def __call__(self, place: Surroundings) -> Fake:
        fake = Fake(self, place)
        self.lives.append(fake)
        return fake

    @property
    def last(self) -> Fake:
        """The container that runs now."""
        return self.lives[-1]


class Fake:
    """One life."""

    pid: int | None = 4242

    def __init__(self, script: Script, place: Surroundings) -> None:
        self.script = script
        self.place = place
        self.models = list(script.brings)
        self.extra_bytes = 0
        self.stopped = False
        self.address = ""  # once it has started
        self.drops_next = False  # the connection, instead of an answer
        self._server: Server | None = None
        self._ended: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()

    def path(self, folder: Path) -> str:
        return f"/opt/ml/models/{folder.relative_to(self.place.models)}"

    async def start(self) -> str:
        if self.script.fails_to_start:
            raise StartFailed("The engine is not there.")
        self.address = f"unix:{self.script.folder}/c{len(self.script.lives)}"
        self._server = await serve(self._answer, self.address, SERVER_LIMITS)
        self.place.on_output("hello from the container")
        if self.script.dies_at_start:
            await self.die()
        return self.address

    async def wait(self) -> Ended:
        return await asyncio.shield(self._ended)

    async def stop(self, grace_s: float) -> None:
        self.stopped = True
        await self.die("exit code 0")

    async def die(self, text: str = "exit code 3", *, out_of_memory: bool = False) -> None:
        """End by itself."""
        if not self._ended.done():
            self._ended.set_result(Ended(text, out_of_memory))
        if self._server is not None:
            await self._server.close(0)

    async def memory_bytes(self) -> int:
        return 100 * MIB + self.extra_bytes + len(self.models) * self.script.model_bytes

    async def _answer(self, request: Request) -> Response:
        path = request.path.decode()
        asked = (request.method, path)
        self.script.asked.append((request.method, request.target.decode()))
        self.script.headers.append(dict(request.headers))
        body = await request.body.read(MIB)
        if self.drops_next:
            self.drops_next = False
            return Response(200, [(b"content-length", b"9")], _broken())
        if asked in self.script.hangs:
            await asyncio.sleep(600)
        status = self._scripted(asked)
        if status >= 300:
            if asked == ("POST", "/models") and status == 507 and self.script.keeps_what_fails:
                self.models.append(json.loads(body)["model_name"])
            return _json(status, {"code": status, "type": "Error", "message": f"said {status}"})
        return self._do(request, path, body)

    def _scripted(self, asked: tuple[str, str]) -> int:
        statuses = self.script.replies.get(asked)
        return statuses.pop(0) if statuses else 200

    def _do(self, request: Request, path: str, body: bytes) -> Response:
        match request.method, path.split("/")[1:]:
            case "GET", ["models"]:
                return self._list(request.query)
            case "POST", ["models"]:
                name = json.loads(body)["model_name"]
                if name in self.models:
                    return _json(409, {"message": f"{name} is there"})
                self.models.append(name)
            case "DELETE", ["models", name]:
                if name not in self.models:
                    return _json(404, {"message": f"{name} is not there"})
                self.models.remove(name)
            case "POST", ["models", name, "invoke"]:
                if name not in self.models:
                    return _json(404, {"message": f"{name} is not there"})
                return Response(200, [(b"content-type", b"text/own"), (b"x-other", b"1")], body)
            case "POST", ["invocations"]:
                return Response(200, [], body)
        return _json(200, {})

    def _list(self, query: bytes) -> Response:
        begin = int(query.partition(b"=")[2] or 0)
        end = begin + self.script.page
        rows: dict[str, Any] = {"models": [{"modelName": n} for n in self.models[begin:end]]}
        if end < len(self.models):
            rows["nextPageToken"] = str(end)
        return _json(200, rows)


async def _broken() -> AsyncIterator[bytes]:
    """A body that is shorter than it says."""
    yield b"x"
    raise ConnectionResetError


def _json(status: int, document: Any) -> Response:
    body = json.dumps(document).encode()
    return Response(status, [(b"content-type", b"application/json")], body)


def place(folder: Path, on_output: Callable[[str], None] = lambda _: None) -> Surroundings:
    """Surroundings of 1 GiB in a folder."""
    return Surroundings(
        instance="i-1",
        environment={},
        memory_bytes=1024 * MIB,
        vcpus=2.0,
        models=folder / "models",
        model=None,
        scratch=folder / "scratch",
        on_output=on_output,
        cgroup=None,
    )


def terms(*, multi_model: bool = True, health_timeout_s: float = 30.0, **changes: Any) -> Terms:
    """What is expected, with settings that let no test wait."""
    quick = {"container_ping_interval_s": 0.02, "restart_delay_max_s": 0.05, **changes}
    limits = replace(Settings(), **quick)
    return Terms("AllTraffic", "log group g", multi_model, health_timeout_s, limits)

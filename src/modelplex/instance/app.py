"""The door of an instance process: `python -m modelplex.instance SPEC.json`, until SIGTERM."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import time
from dataclasses import fields
from operator import attrgetter
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import uvloop

from modelplex import logs
from modelplex.aws.errors import ServiceError
from modelplex.core.keys import name_of
from modelplex.core.model import Row
from modelplex.core.versions.tracks import Standing
from modelplex.http import heap
from modelplex.http.errors import BodyTooLarge
from modelplex.http.messages import Request, Response
from modelplex.http.server import ServerLimits, raise_descriptor_limit, serve
from modelplex.instance import spec as specs
from modelplex.instance.artifacts import store
from modelplex.instance.life import KILL_RESERVE_S, Instance, Status
from modelplex.instance.processes import kin
from modelplex.instance.spec import Spec
from modelplex.lanes.landing import Asked, Landing
from modelplex.lanes.wire import path_beside

log = logging.getLogger(__name__)

DEFECT = 70  # exit status: this process contradicted itself
SWITCH_INTERVAL_S = 0.001  # threads that unpack give way to requests sooner than Python's 5 ms


class Door:
    """The instance's routes of internal-api.md, and where gateways' requests come in."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance

    async def __call__(self, request: Request) -> Response:
        """The answer to anything that comes through the socket."""
        match request.method, request.path:
            case "GET", b"/ping":
                return self._ping()
            case "GET", b"/report":
                return _json(200, self._report())
            case "GET", b"/explain":
                return await self._explain(request.query)
            case "PUT", b"/rules":
                return await self._obey(request)
            case "GET", b"/events":
                return self._events(request.query)
            case _:
                return _json(404, {"message": f"no such door: {request.method} {request.target!r}"})

    def invoke(self, asked: Asked) -> None:
        """A request of a gateway."""
        if self._instance.invocations is None:
            asked.unready(f"the instance is {self._instance.status.value}")
        else:
            self._instance.invocations(asked)

    def _ping(self) -> Response:
        status, reason = self._instance.status, self._instance.reason
        document = {"status": status.value} | ({"reason": reason} if reason else {})
        return _json(200 if status is Status.HEALTHY else 503, document)

    async def _obey(self, request: Request) -> Response:
        try:
            body = await request.body.read(self._instance.spec.limits.control_body_bytes_max)
            wishes = specs.parse_wishes(json.loads(body))
        except (specs.SpecError, BodyTooLarge, ValueError) as error:
            return _json(400, {"message": str(error)})
        if not self._instance.obey(wishes):
            return _json(503, {"message": f"the instance is {self._instance.status.value}"})
        return _json(200, {})

    def _events(self, query: bytes) -> Response:
        after = query.removeprefix(b"after=") or b"0"
        if not after.isdigit():
            return _json(400, {"message": f"after must be the number of an event, not {after!r}"})
        return _json(200, self._instance.history.journal.after(int(after)))

    async def _explain(self, query: bytes) -> Response:
        model = parse_qs(query.decode("latin-1")).get("model", [""])[0]
        document = await self._instance.explain(model)
        if document is None:
            return _json(503, {"message": f"the instance is {self._instance.status.value}"})
        return _json(200, document)

    def _report(self) -> dict[str, Any]:
        """Bytes and Unix seconds, as control and `top` want them."""
        instance, spec = self._instance, self._instance.spec
        residency = instance.agent.residency if instance.agent else None
        began = time.time() - time.monotonic()  # of the monotonic clock, in Unix seconds
        models = residency.memory.used_bytes if residency else 0
        disk = residency.disk.used_bytes if residency else 0
        return {
            "id": spec.id,
            "status": instance.status.value,
            "pid": os.getpid(),
            "zygote_pid": instance.zygote_pid,
            "memory": {
                "budget": spec.memory_bytes,
                "base": instance.base_bytes,
                "used": instance.base_bytes + models,
            },
            "disk": {"budget": spec.disk_bytes, "used": disk},
            "counters": instance.history.journal.counters,
            "models": [self._row(row, began) for row in residency.snapshot()] if residency else [],
        }

    def _row(self, row: Row, began: float) -> dict[str, Any]:
        agent = self._instance.agent
        worker = agent.workers.get(row.model) if agent else None
        return {
            **dict(zip(_ROW, _values(row), strict=True)),
            **self._versions(row.model),
            "last_used_at": _unix(began, row.last_used_at),
            "loaded_at": _unix(began, row.loaded_at),
            "refused_until": _unix(began, row.refused_until),
            "pid": worker.pid if worker else None,
            "worker": agent.residents.number(row.model) if agent else 0,
        }

    def _versions(self, key: str) -> dict[str, Any]:
        """Name and version of a key, and of the one that serves what stands before and behind."""
        assert self._instance.agent is not None
        versions = self._instance.agent.residency.here.versions
        standing, track = versions.standing(key), versions.of(key)
        row = {
            "model": name_of(key),
            "version": versions.version(key),
            "standing": standing.value,
        }
        if standing is not Standing.SERVING:
            return row
        return row | {
            "previous": versions.version(track.previous) if track else "",
            "candidate": versions.version(track.candidate) if track else "",
            "put_off": _reason(track.problem) if track and track.problem else "",
            "rejected": {v: _reason(why) for v, why in track.rejected.items()} if track else {},
        }


_ROW = tuple(each.name for each in fields(Row))
_values = attrgetter(*_ROW)  # `asdict` costs several times as much, for every model


def _reason(failure: object) -> str:
    return failure.message if isinstance(failure, ServiceError) else str(failure)


def _unix(began: float, moment: float | None) -> float | None:
    return None if moment is None else began + moment


def _json(status: int, document: Any) -> Response:
    body = json.dumps(document).encode()
    return Response(status, [(b"content-type", b"application/json")], body)


async def run(spec: Spec) -> int:
    """Serve until SIGTERM or SIGINT, or until a defect shows; the exit status."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[int] = loop.create_future()

    def end(status: int) -> None:
        if not ended.done():
            ended.set_result(status)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, 0)
    instance = Instance(spec, on_defect=lambda _: end(DEFECT))
    door = Door(instance)
    frame_max = 2 * spec.limits.body_bytes_max  # what is too large is answered, as far as that
    landing = Landing(path_beside(str(spec.socket)), door.invoke, frame_max)
    server = await serve(door, f"unix:{spec.socket}", _server_limits(spec))
    starting = asyncio.create_task(instance.start())
    starting.add_done_callback(lambda task: end(DEFECT) if _failed(task) else None)
    status = await ended
    starting.cancel()
    await landing.close(max(0.0, spec.limits.stop_timeout_s - KILL_RESERVE_S))
    await server.close(0.0)
    await instance.stop()
    return status


def _failed(task: asyncio.Task[None]) -> bool:
    """Whether a task ended by an exception, which is then in the log."""
    if task.cancelled() or (error := task.exception()) is None:
        return False
    log.critical("instance.defect", exc_info=error)
    return True


def _server_limits(spec: Spec) -> ServerLimits:
    limits = spec.limits
    return ServerLimits(
        headers_bytes_max=limits.headers_bytes_max,
        idle_timeout_s=limits.idle_timeout_s,
        request_read_timeout_s=limits.request_read_timeout_s,
        connections_max=limits.connections_max,
        bodies_bytes_max=limits.bodies_bytes_max,
    )


def main() -> None:
    """Run the instance of the spec named on the command line. Nothing of it outlives this call."""
    kin.bind_to_parent()
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m modelplex.instance SPEC.json")
    try:
        spec = specs.read(Path(sys.argv[1]))
    except specs.SpecError as error:
        raise SystemExit(str(error)) from None
    logs.configure(spec.limits)
    store.reach_loopback_directly()
    raise_descriptor_limit()
    heap.keep_freed()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    heap.collect_rarely()
    status = uvloop.run(run(spec))
    kin.kill_descendants()
    logging.shutdown()
    os._exit(status)  # a download that hangs in its thread must not hold the process up

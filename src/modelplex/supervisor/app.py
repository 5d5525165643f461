"""The door of the supervisor: processes over HTTP on run/supervisor.sock.

    PUT /processes/NAME       start it, or replace it by what the document says
    DELETE /processes/NAME    stop it; answered when it is gone
    GET /processes            all of them, held with ?after=VERSION until something changed

See docs/reference/internal-api.md for the documents.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import signal
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs, unquote_to_bytes

from modelplex.http.errors import BodyTooLarge
from modelplex.http.messages import Request, Response
from modelplex.http.server import serve
from modelplex.settings import Settings
from modelplex.supervisor.processes import Processes, Stopping
from modelplex.supervisor.spawn import become_subreaper
from modelplex.supervisor.spec import Spec

log = logging.getLogger(__name__)

BODY_BYTES_MAX = 256 * 1024
WAIT_S_MAX = 60.0  # longest hold of a GET
_NAME = re.compile(r"/processes/([A-Za-z0-9][A-Za-z0-9._-]{0,127})")


async def supervise(
    settings: Settings,
    lock: int,
    reserved: frozenset[str],
    begin: Callable[[Processes, asyncio.Event], Awaitable[None]],
    on_stop: Callable[[], None] = lambda: None,
) -> None:
    """Be the parent of all: `begin` starts what is there from the start, then signals rule.

    A first SIGINT, SIGTERM or SIGHUP stops everything within `stop_timeout_s`, a second one kills.
    Whatever ends this, no process of it is left. `begin` also gets the event that says "stop";
    `on_stop` is called before the first process is stopped.
    """
    become_subreaper()
    loop = asyncio.get_running_loop()
    processes = Processes(settings.restart_delay_max_s, settings.log_file_bytes_max, lock)
    loop.add_signal_handler(signal.SIGCHLD, processes.reap)
    stop = asyncio.Event()
    for number in _stop_signals():
        loop.add_signal_handler(number, _on_stop, number, stop, processes)
    server = await serve(Api(processes, reserved), f"unix:{settings.data}/run/supervisor.sock")
    try:
        await begin(processes, stop)
        await stop.wait()
    finally:
        log.info("platform.stopping", extra={"timeout_s": settings.stop_timeout_s})
        on_stop()
        await processes.stop_all(settings.stop_timeout_s)
        await server.close(0)


def _stop_signals() -> list[signal.Signals]:
    """SIGHUP too, unless this was started to survive it (nohup)."""
    hangup = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
    return [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hangup else [])]


def _on_stop(number: signal.Signals, stop: asyncio.Event, processes: Processes) -> None:
    if stop.is_set():
        log.warning("platform.killed", extra={"signal": number.name})
        processes.kill_all()
    stop.set()


class Api:
    """The handler for `http.serve`."""

    def __init__(self, processes: Processes, reserved: frozenset[str]) -> None:
        """`reserved` names are the platform's own: nobody else may start or stop them."""
        self._processes = processes
        self._reserved = reserved

    async def __call__(self, request: Request) -> Response:
        path = unquote_to_bytes(request.path).decode("utf-8", "replace")
        query = {k: v[-1] for k, v in parse_qs(request.query.decode("latin-1")).items()}
        try:
            if path == "/processes" and request.method == "GET":
                return await self._list(query)
            if match := _NAME.fullmatch(path):
                return await self._change(request, match[1], query)
        except ValueError as error:
            return _answer(400, {"message": str(error)})
        except OSError as error:
            return _answer(400, {"message": f"cannot be started: {error}"})
        except Stopping as error:
            return _answer(503, {"message": str(error)})
        except BodyTooLarge:
            return _answer(413, {"message": f"a document is at most {BODY_BYTES_MAX} bytes"})
        return _answer(404, {"message": f"no such door: {request.method} {path}"})

    async def _list(self, query: dict[str, str]) -> Response:
        if "after" in query:
            wait_s = min(float(query.get("wait_s", 20)), WAIT_S_MAX)
            await self._processes.wait_for_change(int(query["after"]), wait_s)
        rows = self._processes.rows()
        return _answer(200, {"version": self._processes.version, "processes": rows})

    async def _change(self, request: Request, name: str, query: dict[str, str]) -> Response:
        if name in self._reserved:
            return _answer(403, {"message": f"{name} is one of the platform's own processes"})
        match request.method:
            case "PUT":
                spec = Spec.from_document(json.loads(await request.body.read(BODY_BYTES_MAX)))
                fresh = await self._processes.start(name, spec)
                return _answer(201 if fresh else 200, self._processes.rows().get(name, {}))
            case "DELETE":
                grace = float(query["grace_s"]) if "grace_s" in query else None
                if await self._processes.stop(name, grace):
                    return _answer(200, {})
                return _answer(404, {"message": f"no process {name}"})
            case method:
                return _answer(405, {"message": f"{method} is not known here"})


def _answer(status: int, document: dict[str, Any]) -> Response:
    headers = [(b"content-type", b"application/json")]
    return Response(status, headers, json.dumps(document).encode())

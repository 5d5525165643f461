"""The load: requests at fixed moments whatever becomes of them, beside clients that keep asking.

A process of its own: a plan in JSON on stdin, one line for each request on stdout. A request of a
stream is sent at its moment on a kept-alive connection that is free, else on a new one, and its
latency counts from that moment: a server that is late is not asked less often. The clients of a
flood ask again as soon as they have an answer, and after a refusal when they have paused, at random
around `pause_s`, as SDKs do before they try again. They go away when all streams are answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import httptools
import uvloop

CONNECTIONS_MAX = 3000  # a request that finds none is counted as lost
GIVE_UP_S = 60.0  # as SDKs do
LOST = 0  # the status of a request that got no answer
_TYPE = re.compile(rb'"type": *"(\w+)"')  # of Multi Model Server's errors


@dataclass(frozen=True, slots=True)
class Stream:
    """Requests `rate_per_s`, evenly spaced, from `start_s` until `end_s`, to each in turn."""

    name: str
    requests: list[str]  # whole HTTP requests in Latin-1
    rate_per_s: float
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Flood:
    """So many clients that keep asking."""

    name: str
    request: str
    clients: int
    pause_s: float = 0.5


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send to a port of this machine."""

    port: int
    streams: list[Stream] = field(default_factory=list)
    floods: list[Flood] = field(default_factory=list)

    def text(self) -> str:
        """As this process reads it."""
        return json.dumps(asdict(self))


@dataclass(frozen=True, slots=True)
class Seen:
    """One request: when it was due, how long its answer took, and which it was."""

    name: str
    due_s: float
    took_s: float
    status: int
    error: str = ""
    retry_after_s: float = 0.0


class _Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._answered: asyncio.Future[tuple[int, str, float]] | None = None
        self.open = True
        self._begin()

    def _begin(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._error, self._retry_after_s, self._body = "", 0.0, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def connection_lost(self, error: Exception | None) -> None:
        self.open = False
        if self._answered is not None and not self._answered.done():
            self._answered.set_result((LOST, "lost", 0.0))

    async def ask(self, request: bytes) -> tuple[int, str, float]:
        """Status, error and Retry-After; LOST where there is no answer."""
        self._answered = self._loop.create_future()
        self.transport.write(request)
        try:
            async with asyncio.timeout(GIVE_UP_S):
                return await self._answered
        except TimeoutError:
            self.transport.abort()
            return LOST, "gave up", 0.0

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        match name.lower():
            case b"x-amzn-errortype":
                self._error = value.decode("latin-1")
            case b"retry-after":
                self._retry_after_s = float(value)
            case b"connection" if value.lower() == b"close":
                self.open = False

    def on_body(self, body: bytes) -> None:
        if len(self._body) < 1000:
            self._body += body

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:  # on its way
            return
        if not self._error and (found := _TYPE.search(self._body)):
            self._error = found[1].decode()
        if self._answered is not None and not self._answered.done():
            self._answered.set_result((status, self._error, self._retry_after_s))
        self._begin()


class _Load:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._loop = asyncio.get_running_loop()
        self._free: list[_Connection] = []
        self._count = 0
        self._seen: list[Seen] = []
        self._random = random.Random(1)
        self._began = 0.0

    async def run(self) -> list[Seen]:
        self._began = self._loop.time()
        floods = [each for each in self._plan.floods for _ in range(each.clients)]
        clients = [asyncio.create_task(self._client(flood)) for flood in floods]
        async with asyncio.TaskGroup() as group:
            for stream in self._plan.streams:
                group.create_task(self._stream(stream, group))
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
        return self._seen

    async def _stream(self, stream: Stream, group: asyncio.TaskGroup) -> None:
        requests = [request.encode("latin-1") for request in stream.requests]
        for number in range(int((stream.end_s - stream.start_s) * stream.rate_per_s)):
            due_s = stream.start_s + number / stream.rate_per_s
            if (pause_s := self._began + due_s - self._loop.time()) > 0:
                await asyncio.sleep(pause_s)
            group.create_task(self._ask(stream.name, requests[number % len(requests)], due_s))

    async def _client(self, flood: Flood) -> None:
        request = flood.request.encode("latin-1")
        while True:
            status = await self._ask(flood.name, request, self._loop.time() - self._began)
            if status != 200:
                await asyncio.sleep(flood.pause_s * 2 * self._random.random())

    async def _ask(self, name: str, request: bytes, due_s: float) -> int:
        connection = None
        answer = (LOST, "no connection", 0.0)
        try:
            with contextlib.suppress(OSError):
                connection = await self._connection()
            if connection is not None:
                answer = (LOST, "still waiting", 0.0)
                answer = await connection.ask(request)
                self._return(connection)
        finally:
            took_s = self._loop.time() - self._began - due_s
            self._seen.append(Seen(name, due_s, took_s, *answer))
        return answer[0]

    async def _connection(self) -> _Connection | None:
        while self._free:
            connection = self._free.pop()
            if connection.open:
                return connection
            self._count -= 1
        if self._count >= CONNECTIONS_MAX:
            return None
        self._count += 1
        try:
            _, made = await self._loop.create_connection(_Connection, "127.0.0.1", self._plan.port)
        except OSError:
            self._count -= 1
            raise
        return made

    def _return(self, connection: _Connection) -> None:
        if connection.open:
            self._free.append(connection)
        else:
            connection.transport.abort()
            self._count -= 1


def _plan(text: str) -> Plan:
    document = json.loads(text)
    streams = [Stream(**each) for each in document["streams"]]
    return Plan(document["port"], streams, [Flood(**each) for each in document["floods"]])


def read(lines: Sequence[str]) -> list[Seen]:
    """What this process has written."""
    return [Seen(**json.loads(each)) for each in lines]


async def _run(plan: Plan) -> list[Seen]:
    return await _Load(plan).run()


def main() -> None:
    """Carry out the plan."""
    for seen in uvloop.run(_run(_plan(sys.stdin.read()))):
        sys.stdout.write(json.dumps(asdict(seen)) + "\n")


if __name__ == "__main__":
    main()

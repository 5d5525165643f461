"""Clients that send at their own times, whatever becomes of the requests before.

A client that waits for an answer before it asks again does not see how long others would have
waited. So times count from when a request was due, not from when it could be sent. Each client is
a process of its own, ahead of the servers where the system lets it be: in the world it would have a
machine of its own, and its waiting for a core would be counted as theirs.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from typing import Any

import httptools
import uvloop

CONNECTIONS_MAX = 512  # open at once; a request that is due beyond that waits, and that counts
ANSWER_TIMEOUT_S = 60.0
AHEAD = "-15"  # of an autogroup, and nice value


@dataclass(frozen=True, slots=True)
class Answer:
    """When a request was due, in seconds since the epoch, and what became of it."""

    due_at: float
    took_ms: float
    status: int  # 0: none came


@dataclass(slots=True)
class Seen:
    """The answers of one client."""

    answers: list[Answer] = field(default_factory=list)

    def between(self, began: float, ended: float) -> list[float]:
        """Milliseconds of right answers to requests that were due then."""
        return [a.took_ms for a in self.answers if began <= a.due_at < ended and a.status == 200]

    def failures(self) -> Counter[int]:
        """How many there were of each status but 200."""
        return Counter(answer.status for answer in self.answers if answer.status != 200)


class _Reply(asyncio.Protocol):
    """One kept-alive connection, one request at a time."""

    def __init__(self) -> None:
        self.done: asyncio.Future[int] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.parser = httptools.HttpResponseParser(self)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_complete(self) -> None:
        self._finish(self.parser.get_status_code())
        self.parser = httptools.HttpResponseParser(self)

    def connection_lost(self, _: Exception | None) -> None:
        self._finish(0)

    def _finish(self, status: int) -> None:
        if self.done is not None and not self.done.done() and status != 102:
            self.done.set_result(status)


class Client:
    """Asks one server over as many connections as there are requests under way."""

    def __init__(self, port: int) -> None:
        self.seen = Seen()
        self._port = port
        self._idle: list[_Reply] = []
        self._slots = asyncio.Semaphore(CONNECTIONS_MAX)

    async def ask(self, request: bytes, due_at: float) -> None:
        """Sends a request now and notes the answer."""
        async with self._slots:
            status = await self._status(request)
        self.seen.answers.append(Answer(due_at, (time.time() - due_at) * 1000, status))

    async def _status(self, request: bytes) -> int:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                while self._idle and self._idle[-1].transport.is_closing():
                    self._idle.pop()
                reply = self._idle.pop() if self._idle else await self._connect()
                reply.done = loop.create_future()
                reply.transport.write(request)
                status = await reply.done
        except (OSError, TimeoutError):
            return 0
        self._idle.append(reply)
        return status

    async def _connect(self) -> _Reply:
        loop = asyncio.get_running_loop()
        return (await loop.create_connection(_Reply, "127.0.0.1", self._port))[1]


async def steady(client: Client, requests: list[bytes], rate: float, enough: Event) -> None:
    """Poisson arrivals, each of one of the requests, until there are enough."""
    draw, began, due = random.Random(7), time.time(), 0.0
    async with asyncio.TaskGroup() as tasks:
        while not enough.is_set():
            due += draw.expovariate(rate)
            if (early := began + due - time.time()) > 0:
                await asyncio.sleep(early)
            tasks.create_task(client.ask(draw.choice(requests), began + due))


async def at_once(client: Client, requests: list[bytes]) -> None:
    """All of the requests now."""
    now = time.time()
    await asyncio.gather(*(client.ask(request, now) for request in requests))


async def busy(client: Client, requests: list[bytes], lanes: int, seconds: float) -> None:
    """As fast as the server answers `lanes` requests at a time."""
    end = time.time() + seconds

    async def lane(number: int) -> None:
        turn = number
        while (now := time.time()) < end:
            await client.ask(requests[turn % len(requests)], now)
            turn += 1

    await asyncio.gather(*map(lane, range(lanes)))


Play = Callable[..., Awaitable[None]]


class Running:
    """A client at work in a process of its own; `result` waits for what it has seen."""

    def __init__(self, port: int, play: Play, *arguments: Any) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._ours, theirs = spawn.Pipe()
        self._process = spawn.Process(target=_run, args=(theirs, port, play, arguments))
        self._process.start()
        theirs.close()
        self._ours.recv()  # it is up

    def begin(self) -> None:
        """Let it send its first request."""
        self._ours.send(None)

    def result(self) -> Seen:
        """What it has seen, when it is through."""
        seen: Seen = self._ours.recv()
        self._process.join()
        return seen


def _run(told: Connection, port: int, play: Play, arguments: tuple[Any, ...]) -> None:
    _go_ahead()
    told.send(None)
    told.recv()
    told.send(uvloop.run(_play(port, play, arguments)))


async def _play(port: int, play: Play, arguments: tuple[Any, ...]) -> Seen:
    client = Client(port)
    await play(client, *arguments)
    return client.seen


def _go_ahead() -> None:
    """Before the servers, where that is allowed: by nice value and, if there is one, autogroup."""
    os.setsid()
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, int(AHEAD))
        with open("/proc/self/autogroup", "w", encoding="ascii") as file:
            file.write(AHEAD)

"""Listening to instances: pings often until healthy, then once in an interval.

Starting --200--> Healthy <-> Silent (no answer several times running)
    └--"Failed"--> Failed (final: the instance gave up)

One listener follows one process; another process of the same instance starts over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from modelplex.core.reconcile import Ping
from modelplex.http.client import Client, ClientLimits
from modelplex.http.errors import BadMessage

_FIRST_PAUSE_S = 0.02  # between pings; an instance of a small image is up in a few of these
_LAST_PAUSE_S = 0.5
_GROWTH = 1.3
_PING_S = 2.0  # SageMaker's own limit of one ping
_SILENT_AFTER = 3  # intervals without an answer


@dataclass(frozen=True, slots=True)
class Pulse:
    """The newest of one instance. `silent_for_s` counts from the last answer of a healthy one."""

    ping: Ping = Ping.STARTING
    reason: str = ""
    silent_for_s: float = 0.0


class Listener:
    """Follows one process of one instance until cancelled. `changed` is called at each turn of
    its health, and for every further answer that a silent one owes."""

    def __init__(self, socket: str, interval_s: float, changed: Callable[[], None]) -> None:
        self.pulse = Pulse()
        self._client = Client(f"unix:{socket}", ClientLimits(connections_max=4))
        self._interval_s = interval_s
        self._changed = changed
        self._last_answer = asyncio.get_running_loop().time()
        self.heard = asyncio.Event()  # the first ping is over, answered or not
        self._task = asyncio.create_task(self._follow())

    async def close(self) -> None:
        """Stop listening."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._client.close()

    async def ask(self, target: str) -> Any | None:
        """The instance's answer to a GET, or None when there is none in time."""
        return await self.call("GET", target)

    async def call(self, method: str, target: str, document: object = None) -> Any | None:
        """The instance's answer, or None when it refused or there is none in time."""
        try:
            status, answer = await self._client.json(method, target, document, timeout_s=_PING_S)
        except (OSError, BadMessage):  # TimeoutError is an OSError
            return None
        return answer if status == 200 else None

    async def _follow(self) -> None:
        await self._until_healthy()
        self._last_answer = asyncio.get_running_loop().time()
        while self.pulse.ping is not Ping.FAILED:
            await asyncio.sleep(self._interval_s)
            self._hear(await self._ping())

    async def _until_healthy(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while self.pulse.ping is Ping.STARTING:
            status, reason = await self._ping()
            self.heard.set()
            if status == 200:
                self._turn(Pulse(Ping.HEALTHY))
            elif reason:
                self._turn(Pulse(Ping.FAILED, reason))
            else:
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * _GROWTH, _LAST_PAUSE_S)

    async def _ping(self) -> tuple[int, str]:
        """The answer's status, 0 if there is none in time, and why the instance gave up, if so."""
        try:
            status, answer = await self._client.json("GET", "/ping", timeout_s=_PING_S)
        except (OSError, BadMessage):
            return 0, ""
        if isinstance(answer, dict) and answer.get("status") == "Failed":
            return status, str(answer.get("reason", "no reason was given"))
        return status, ""

    def _hear(self, answer: tuple[int, str]) -> None:
        """What an instance that has been healthy answers, if anything."""
        status, reason = answer
        now = asyncio.get_running_loop().time()
        if not status:
            silent_s = now - self._last_answer
            is_silent = silent_s >= _SILENT_AFTER * self._interval_s
            found = Pulse(Ping.SILENT if is_silent else self.pulse.ping, "", silent_s)
        elif reason:
            found = Pulse(Ping.FAILED, f"it gave up while it was in service: {reason}")
        else:
            found = Pulse(Ping.HEALTHY)
            self._last_answer = now
        if found.ping is not self.pulse.ping or found.ping is Ping.SILENT:
            self._turn(found)
        self.pulse = found

    def _turn(self, found: Pulse) -> None:
        self.pulse = found
        self._changed()

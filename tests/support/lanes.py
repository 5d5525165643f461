"""A lane as tests ask by it: one awaited reply per request."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

from modelplex.lanes.lane import Lane
from modelplex.lanes.wire import Answer, Ask, Told

TIMEOUT_S = 90.0


@dataclass(frozen=True)
class Reply:
    """An instance's answer."""

    status: int
    headers: dict[str, str]
    body: bytes
    interims: list[str]
    told: Told

    @property
    def document(self) -> Any:
        """The JSON body."""
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The error's type, empty for none."""
        return self.headers.get("x-amzn-errortype", "")


class Lost(Exception):
    """There will be no answer; `unseen`: no handler has the request."""

    def __init__(self, reason: str, *, unseen: bool) -> None:
        super().__init__(reason)
        self.unseen = unseen


class Unready(Exception):
    """The instance has not begun it."""


@dataclass
class Flight:
    """One request, as a lane knows it."""

    expires_at: float
    result: asyncio.Future[Answer]
    interims: list[str] = field(default_factory=list)

    @property
    def waiting(self) -> bool:
        return self.interims[-1:] == ["waiting"]

    @waiting.setter
    def waiting(self, waits: bool) -> None:
        self.interims.append("waiting" if waits else "begun")

    def answered(self, answer: Answer) -> None:
        self.result.set_result(answer)

    def unready(self, reason: str) -> None:
        self.result.set_exception(Unready(reason))

    def lost(self, reason: str, *, unseen: bool) -> None:
        self.result.set_exception(Lost(reason, unseen=unseen))


class Caller:
    """Asks by a lane."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane

    async def ask(self, model: str | None, request_id: bytes, packed: bytes, body: bytes) -> Reply:
        """The reply; who cancels this leaves. Raises Lost, Unready, ConnectFailed."""
        loop = asyncio.get_running_loop()
        flight = Flight(loop.time() + TIMEOUT_S, loop.create_future())
        ask = Ask((model or "").encode(), request_id, packed)
        number = self._lane.ask(flight, ask, body)
        try:
            answer = await asyncio.wait_for(flight.result, TIMEOUT_S)
        except asyncio.CancelledError:
            self._lane.leave(number)
            raise
        lines = answer.head.decode("latin-1").split("\r\n")[:-1]
        headers = dict(line.split(": ", 1) for line in lines)
        return Reply(answer.status, headers, bytes(answer.body), flight.interims, answer.told)

    def close(self) -> None:
        """Closes the lane."""
        self._lane.close()

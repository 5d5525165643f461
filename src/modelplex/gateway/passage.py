"""One InvokeEndpoint on its way through the gateway: from a verified request to its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from modelplex.aws.errors import ServiceError
from modelplex.gateway.delivery import Flight
from modelplex.gateway.runtime import Call, Runtime
from modelplex.http.messages import Data, Request
from modelplex.lanes.wire import Answer


class Sink(Protocol):
    """Where an answer goes: an express reply, or somebody who awaits it."""

    on_gone: Callable[[], None] | None

    @property
    def gone(self) -> bool:
        """Whether nobody will read the answer."""

    def send(self, status: int, headers: bytes, body: Data) -> None:
        """Answers, once."""


Ended = Callable[["Passage", Answer | ServiceError], None]


class Passage:
    """`on_end` hears of the answer, once, or why there is none, unless the client leaves before."""

    __slots__ = ("_finding", "_flight", "_on_end", "began", "request", "request_id", "sink")

    def __init__(
        self, request: Request, request_id: bytes, began: float, sink: Sink, on_end: Ended
    ) -> None:
        """`began`: when it came, by a clock of the caller's."""
        self.request = request
        self.request_id = request_id
        self.began = began
        self.sink = sink
        self._on_end = on_end
        self._flight: Flight | None = None
        self._finding: asyncio.Task[None] | None = None

    @property
    def variant(self) -> str:
        """The name of the variant that it went to."""
        assert self._flight is not None
        return self._flight.variant.name

    def begin(self, runtime: Runtime, body: Data, call: Call) -> None:
        """Sends it on its way. Raises ServiceError."""
        self.sink.on_gone = self.leave
        if runtime.knows(call):
            self._take_off(runtime, call, body)
        else:
            self._finding = asyncio.get_running_loop().create_task(self._find(runtime, call, body))

    def leave(self) -> None:
        """The client has gone."""
        if self._finding is not None:
            self._finding.cancel()
        if self._flight is not None:
            self._flight.leave()
        self._part()

    def _take_off(self, runtime: Runtime, call: Call, body: Data) -> None:
        self._flight = runtime.invoke(call, body, self.request_id, self._ended)

    async def _find(self, runtime: Runtime, call: Call, body: Data) -> None:
        """Its endpoint is not known to be in service: control may know better."""
        await runtime.ask(call)
        self._finding = None
        try:
            self._take_off(runtime, call, body)
        except ServiceError as error:
            self._ended(error)

    def _ended(self, outcome: Answer | ServiceError) -> None:
        if not self.sink.gone:
            self._on_end(self, outcome)
        self._part()

    def _part(self) -> None:
        """Lets go of both sides, who know this one: else all would stay until a collection."""
        self.sink.on_gone = self._flight = None

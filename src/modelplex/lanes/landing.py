"""The instance's end of lanes: where gateways connect, and each request until it is answered."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable

from modelplex.http.addresses import UnixAddress, listen
from modelplex.lanes import wire
from modelplex.runtime import frames
from modelplex.runtime.arena import Arena
from modelplex.runtime.frames import Data
from modelplex.workers.channel import Channel

log = logging.getLogger(__name__)

LANES_MAX = 1024  # of one instance; a gateway takes one. More wait in the listen queue
_ACCEPT_PAUSE_S = 0.5  # after the process ran out of descriptors


class Asked:
    """One request of a gateway. It is answered once; what is said after its client left is dropped.

    `on_leave` is called when the client leaves before the answer.
    """

    __slots__ = ("_line", "_number", "body", "head", "on_leave")

    def __init__(self, line: _Line, number: int, head: wire.Ask, body: Data) -> None:
        self._line: _Line | None = line
        self._number = number
        self.head = head
        self.body = body
        self.on_leave: Callable[[], None] | None = None

    @property
    def gone(self) -> bool:
        """Whether nobody waits for the answer any more."""
        return self._line is None

    def waits(self) -> None:
        """It has to wait for its model: a gateway that loses us may ask another instance."""
        if self._line is not None:
            self._line.send(frames.encode(wire.WAITING, self._number))

    def begun(self) -> None:
        """After that: a handler has it now."""
        if self._line is not None:
            self._line.send(frames.encode(wire.BEGUN, self._number))

    def unready(self, reason: str) -> None:
        """Nothing was begun, and will not be."""
        self._end(frames.encode(wire.UNREADY, self._number, reason.encode()))

    def answer(self, answer: wire.Answer) -> None:
        """The answer."""
        if self._line is not None:
            self._end(wire.encode_answer(self._number, answer, self._line.arena))

    def leave(self) -> None:
        """The client has gone, or the gateway with it."""
        self._line = None
        on_leave, self.on_leave = self.on_leave, None
        if on_leave is not None:
            on_leave()

    def _end(self, parts: list[Data]) -> None:
        line, self._line = self._line, None
        self.on_leave = None  # who answers knows this one, and would stay until a collection
        if line is not None:
            line.ended(self._number)
            line.send(parts)


class _Line:
    """One connection of a gateway."""

    def __init__(self, sock: socket.socket, landing: Landing, body_bytes_max: int) -> None:
        self._landing = landing
        self._asked: dict[int, Asked] = {}
        self._channel = Channel(self._on_frame, body_bytes_max)
        self._channel.open(sock)
        self._channel.lost.add_done_callback(self._lost)

    @property
    def arena(self) -> Arena | None:
        """Where large bodies can be left for the gateway."""
        return self._channel.arena

    @property
    def busy(self) -> bool:
        """Whether a request is unanswered, or an answer not yet taken."""
        return bool(self._asked) or self._channel.backed_up

    def send(self, parts: list[Data]) -> None:
        """Sends a frame of one of its requests."""
        if len(self._asked) < wire.FEW:
            self._channel.send(parts)
        else:
            self._channel.send_later(parts)

    def ended(self, number: int) -> None:
        """A request is answered."""
        del self._asked[number]
        self._landing.progress()

    def close(self) -> None:
        """Closes the connection; whose requests are unanswered learns it from that."""
        self._channel.close()

    def _on_frame(self, frame: frames.Frame) -> None:
        if frame.kind == wire.ASK:
            asked = Asked(self, frame.request, wire.decode_ask(frame.meta), frame.body)
            self._asked[frame.request] = asked
            self._landing.on_ask(asked)
        elif frame.kind == frames.SHARE_MEMORY:
            self._channel.give_arena()
        elif frame.kind == wire.LEAVE and (left := self._asked.pop(frame.request, None)):
            left.leave()
            self._landing.progress()

    def _lost(self, _: asyncio.Future[None]) -> None:
        asked, self._asked = self._asked, {}
        for each in asked.values():
            each.leave()
        self._landing.forget(self)


class Landing:
    """Where gateways connect. `on_ask` is called with each request."""

    def __init__(self, path: str, on_ask: Callable[[Asked], None], body_bytes_max: int) -> None:
        """Listens from now on. `body_bytes_max`: of a request. OSError if that is not possible."""
        self.on_ask = on_ask
        self._path = path
        self._body_bytes_max = body_bytes_max
        self._loop = asyncio.get_running_loop()
        self._lines: set[_Line] = set()
        self._drained: asyncio.Future[None] | None = None  # of `close`
        self._listener = listen(UnixAddress(path))
        self._accepting = False
        self._resume()

    async def close(self, drain_s: float) -> None:
        """Takes no further lane, lets requests end for `drain_s`, then cuts the lanes off."""
        self._pause()
        self._listener.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)
        self._drained = self._loop.create_future()
        self.progress()
        await asyncio.wait([self._drained], timeout=drain_s)
        for line in list(self._lines):
            line.close()

    def progress(self) -> None:
        """A request has ended."""
        drained = self._drained
        if drained is not None and not drained.done() and not any(x.busy for x in self._lines):
            drained.set_result(None)

    def forget(self, line: _Line) -> None:
        """That connection is gone."""
        self._lines.discard(line)
        self.progress()
        self._resume()

    def _accept(self) -> None:
        if len(self._lines) >= LANES_MAX:
            self._pause()
            return
        try:
            sock, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:
            log.warning("lanes.accept_failed", extra={"reason": str(error)})
            self._pause()
            self._loop.call_later(_ACCEPT_PAUSE_S, self._resume)
            return
        self._lines.add(_Line(sock, self, self._body_bytes_max))

    def _pause(self) -> None:
        if self._accepting:
            self._accepting = False
            self._loop.remove_reader(self._listener)

    def _resume(self) -> None:
        if not self._accepting and self._drained is None:
            self._accepting = True
            self._loop.add_reader(self._listener, self._accept)

"""The gateway's end of a lane: asks an instance, and tells each flight what became of it."""

from __future__ import annotations

from typing import Protocol

from modelplex.http.addresses import connect_unix_now
from modelplex.http.errors import ConnectFailed
from modelplex.lanes import wire
from modelplex.runtime import frames
from modelplex.runtime.frames import Data
from modelplex.workers.channel import Channel


class Flight(Protocol):
    """A request on its way. Exactly one of the last three is called, once, and nothing after."""

    waiting: bool  # the instance said so last: no handler has seen it
    expires_at: float  # by the event loop's clock

    def answered(self, answer: wire.Answer) -> None:
        """The instance's answer."""

    def unready(self, reason: str) -> None:
        """The instance has not begun it, and will not."""

    def lost(self, reason: str, *, unseen: bool) -> None:
        """There will be no answer. `unseen`: no handler has the request."""


class Lane:
    """To one instance; connects when there is something to ask."""

    def __init__(self, path: str, body_bytes_max: int) -> None:
        """`body_bytes_max`: of an answer."""
        self._path = path
        self._body_bytes_max = body_bytes_max
        self._channel: Channel | None = None
        self._flights: dict[int, Flight] = {}  # the oldest first
        self._number = 0

    @property
    def in_use(self) -> bool:
        """Whether a request is on its way."""
        return bool(self._flights)

    def ask(self, flight: Flight, ask: wire.Ask, body: Data) -> int:
        """Sends a request; its number. Raises ConnectFailed, FrameError: then nothing was sent."""
        number = self._number = self._number % wire.NUMBERS + 1
        channel = self._channel
        if channel is None or channel.lost.done():  # of which `_lose` is about to be told
            channel = self._connect()
        parts = wire.encode_ask(number, ask, body, channel.arena)
        if len(parts) > 1:  # a large body by itself
            channel.want_arena(self._is_in_use)
        self._flights[number] = flight
        if len(self._flights) <= wire.FEW:
            channel.send(parts)
        else:
            channel.send_later(parts)
        return number

    def leave(self, number: int) -> None:
        """The client has gone: nobody waits for this answer any more."""
        if self._flights.pop(number, None) is not None and self._channel is not None:
            self._channel.send_later(frames.encode(wire.LEAVE, number))

    def expire(self, now: float) -> None:
        """Gives up the requests whose time is over; all get the same time."""
        while self._flights:
            number, flight = next(iter(self._flights.items()))
            if flight.expires_at > now:
                return
            self.leave(number)
            flight.lost("it did not answer in time", unseen=False)

    def close(self) -> None:
        """Closes the connection; what is on its way is lost."""
        if self._channel is not None:
            self._channel.close()

    def _is_in_use(self) -> bool:
        return bool(self._flights)

    def _connect(self) -> Channel:
        try:
            sock = connect_unix_now(self._path)
        except OSError as error:
            raise ConnectFailed(f"no lane to {self._path}: {error}") from error
        if self._channel is not None:
            self._lose(self._channel)
        channel = self._channel = Channel(self._on_frame, self._body_bytes_max)
        channel.open(sock)
        channel.lost.add_done_callback(lambda _: self._lose(channel))
        return channel

    def _on_frame(self, frame: frames.Frame) -> None:
        kind, number = frame.kind, frame.request
        if kind == wire.ANSWER:
            if len(frame.body) > frames.JOIN_BYTES_MAX and self._channel is not None:
                self._channel.want_arena(self._is_in_use)
            answer = wire.decode_answer(frame)
            flight = self._flights.pop(number, None)
            if flight is not None:  # else its client has gone
                flight.answered(answer)
        elif kind == wire.UNREADY:
            flight = self._flights.pop(number, None)
            if flight is not None:
                flight.unready(bytes(frame.meta).decode())
        elif kind == frames.SHARE_MEMORY:
            if self._channel is not None:
                self._channel.take_arena()
        elif number in self._flights:
            self._flights[number].waiting = kind == wire.WAITING

    def _lose(self, channel: Channel) -> None:
        """An instance that died without reading all has certainly not read the newest."""
        if self._channel is not channel:
            return
        reset = channel.reset
        self._channel = None
        flights, self._flights = self._flights, {}
        newest = next(reversed(flights), 0)
        for number, flight in flights.items():
            unseen = flight.waiting or (reset and number == newest)
            flight.lost("the connection was lost", unseen=unseen)

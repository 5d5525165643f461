"""Bringing one invocation to an instance, and to the next one when that is safe.

An instance that cannot be reached has got nothing. One that is lost may have gone without reading
the request, or have said that it still waited for its model: then no handler has seen it. In all
other cases one may have, and the request is not sent again.

The first attempt is made in the call that brings the request, and most often the only one; whatever
has to wait for an instance becomes a task.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from modelplex.aws.errors import ServiceError, ServiceUnavailable
from modelplex.gateway.fleet import Fleet, Instance, Variant
from modelplex.gateway.routes import Route
from modelplex.http.errors import ConnectFailed
from modelplex.http.messages import Data
from modelplex.lanes.lane import Lane
from modelplex.lanes.wire import Answer, Ask, path_beside

log = logging.getLogger(__name__)

DOWN_S = 1.0  # an instance that could not be reached is left alone for so long
PATIENCE_S = 10.0  # after the first failure; the reconciler makes a new instance meanwhile

Done = Callable[[Answer | ServiceError], None]


class Flight:
    """One invocation on its way. `done` hears its answer or why there is none, unless it `leave`s
    before.
    """

    __slots__ = (
        *("_delivery", "_retry", "ask", "body", "deadline", "done", "endpoint", "expires_at"),
        *("instance", "lane", "number", "route", "variant", "waiting"),
    )

    def __init__(  # noqa: PLR0917 - made once per request
        self,
        delivery: Delivery,
        endpoint: str,
        variant: Variant,
        route: Route,
        ask: Ask,
        body: Data,
        done: Done,
    ) -> None:
        self._delivery = delivery
        self._retry: asyncio.Task[None] | None = None
        self.endpoint = endpoint
        self.variant = variant
        self.route = route
        self.ask = ask
        self.body = body
        self.done = done
        self.deadline = 0.0  # for another try; 0.0: none was needed yet
        self.expires_at = 0.0
        self.instance: Instance | None = None
        self.lane: Lane | None = None
        self.number = 0
        self.waiting = False

    def leave(self) -> None:
        """The client has gone."""
        if self._retry is not None:
            self._retry.cancel()
        if self.lane is not None and self.instance is not None:
            self.lane.leave(self.number)
            self.route.answered(self.instance, None)
            self.lane = None

    # -- what the lane calls ---------------------------------------------------------------------

    def answered(self, answer: Answer) -> None:
        """The instance's answer."""
        assert self.instance is not None
        self.lane = None
        self.route.answered(self.instance, answer)
        self.done(answer)

    def unready(self, reason: str) -> None:
        """The instance is not ready yet."""
        self._failed()
        self._again(reason)

    def lost(self, reason: str, *, unseen: bool) -> None:
        """The instance will not answer."""
        instance = self._failed()
        if unseen:
            self._again(reason)
            return
        self._delivery.leave_alone(instance, self.route, reason)
        self.done(
            ServiceUnavailable(
                f"Instance {instance.id} was lost while it may have been answering this request: "
                f"{reason}."
            )
        )

    def _failed(self) -> Instance:
        assert self.instance is not None
        self.lane = None
        self.route.answered(self.instance, None)
        return self.instance

    def _again(self, reason: str) -> None:
        assert self.instance is not None
        self._delivery.leave_alone(self.instance, self.route, reason)
        self.try_later()

    def try_later(self) -> None:
        """No instance could be had at once."""
        self._retry = asyncio.get_running_loop().create_task(self._delivery.retry(self))


class Delivery:
    """The lanes to all instances, and which of them did not answer lately."""

    def __init__(self, fleet: Fleet, response_bytes_max: int, timeout_s: float) -> None:
        """`timeout_s`: until an instance's answer; it keeps shorter limits of its own."""
        self._fleet = fleet
        self._response_bytes_max = response_bytes_max
        self._timeout_s = timeout_s
        self._lanes: dict[str, Lane] = {}
        self._down_until: dict[str, float] = {}
        self._loop = asyncio.get_running_loop()

    def send(self, flight: Flight) -> None:
        """Brings a request on its way; its `done` hears of it, at once or later."""
        if not self._attempt(flight):
            flight.try_later()

    async def retry(self, flight: Flight) -> None:
        """Looks for an instance, again and again, as long as patience lasts."""
        flight.deadline = flight.deadline or self._loop.time() + PATIENCE_S
        while self._loop.time() <= flight.deadline:
            flight.variant = self._newest(flight.endpoint, flight.variant)
            if self._attempt(flight):
                return
            await self._fleet.changed(DOWN_S / 4)
        flight.done(
            ServiceUnavailable(
                f"No instance of variant {flight.variant.name} of endpoint {flight.endpoint} "
                "answers. It is being replaced; try again."
            )
        )

    def leave_alone(self, instance: Instance, route: Route, reason: str) -> None:
        """That instance could not be reached: others are asked for a while."""
        route.lost(instance)
        self._down_until[instance.socket] = self._loop.time() + DOWN_S
        log.warning("instance.unreached", extra={"instance": instance.id, "reason": reason})

    def sweep(self) -> None:
        """Gives up what is overdue; forgets instances that are no longer in the fleet, once they
        have answered all."""
        now = self._loop.time()
        current = {instance.socket for instance in self._fleet.instances}
        for socket, lane in list(self._lanes.items()):
            lane.expire(now)
            if socket not in current and not lane.in_use:
                del self._lanes[socket]
                lane.close()
        self._down_until = {s: until for s, until in self._down_until.items() if until > now}

    def close(self) -> None:
        """Closes all lanes."""
        for lane in self._lanes.values():
            lane.close()

    def _attempt(self, flight: Flight) -> bool:
        instance = self._choose(flight.variant, flight.route)
        if instance is None:
            return False
        lane = self._lanes.get(instance.socket)
        if lane is None:
            lane = Lane(path_beside(instance.socket), self._response_bytes_max)
            self._lanes[instance.socket] = lane
        flight.waiting = False
        flight.expires_at = self._loop.time() + self._timeout_s
        try:
            flight.number = lane.ask(flight, flight.ask, flight.body)
        except ConnectFailed as error:
            self.leave_alone(instance, flight.route, str(error))
            return self._attempt(flight)
        flight.instance, flight.lane = instance, lane
        flight.route.sent(instance)
        return True

    def _choose(self, variant: Variant, route: Route) -> Instance | None:
        """The first instance in order that is not left alone at the moment.

        Unhealthy ones come last, yet do come: after control's restart all look so for a moment.
        """
        if not self._down_until:
            return next(route.order(variant), None)
        now = self._loop.time()
        for instance in route.order(variant):
            if self._down_until.get(instance.socket, 0.0) <= now:
                return instance
        return None

    def _newest(self, endpoint: str, variant: Variant) -> Variant:
        known = self._fleet.known(endpoint)
        same = [v for v in known.variants if v.name == variant.name] if known else []
        return same[0] if same else variant

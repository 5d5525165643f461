"""Bringing one invocation to an instance, and to the next one when that is safe.

An instance that cannot be reached has got nothing. One that is lost may have gone without reading
the request, or have said that it still waited for its model: then no handler has seen it. In all
other cases one may have, and the request is not sent again.
"""

from __future__ import annotations

import asyncio
import logging

from modelplex.aws.errors import InternalFailure, ServiceUnavailable
from modelplex.gateway.fleet import Fleet, Instance, Variant
from modelplex.gateway.routes import Route
from modelplex.http.client import Client, ClientLimits, ClientResponse
from modelplex.http.errors import BadMessage, ConnectFailed, ConnectionLost
from modelplex.http.messages import Header, first

log = logging.getLogger(__name__)

DOWN_S = 1.0  # an instance that could not be reached is left alone for so long
PATIENCE_S = 10.0  # after the first failure; the reconciler makes a new instance meanwhile


class _Unreached(Exception):
    """No handler has seen the request; another instance may get it."""


class Delivery:
    """The connections to all instances, and which of them did not answer lately."""

    def __init__(self, fleet: Fleet, connections_max: int, timeout_s: float) -> None:
        """`timeout_s`: until an instance's answer begins; it keeps shorter limits of its own."""
        self._fleet = fleet
        self._limits = ClientLimits(connections_max=connections_max)
        self._timeout_s = timeout_s
        self._clients: dict[str, Client] = {}
        self._down_until: dict[str, float] = {}
        self._loop = asyncio.get_running_loop()

    async def send(
        self, endpoint: str, variant: Variant, route: Route, headers: list[Header], body: bytes
    ) -> ClientResponse:
        """An instance's answer. ServiceUnavailable if none can be had, or if one died over it."""
        deadline: float | None = None
        while True:
            instance = self._choose(variant, route)
            if instance is not None:
                try:
                    return await self._attempt(instance, route, headers, body)
                except _Unreached as error:
                    self._leave_alone(instance, route, str(error))
            if deadline is None:
                deadline = self._loop.time() + PATIENCE_S
            elif self._loop.time() > deadline:
                raise ServiceUnavailable(
                    f"No instance of variant {variant.name} of endpoint {endpoint} answers. "
                    "It is being replaced; try again."
                )
            if instance is None:
                await self._fleet.changed(DOWN_S / 4)
            variant = self._newest(endpoint, variant)

    async def sweep(self) -> None:
        """Forgets instances that are no longer in the fleet, once they have answered all."""
        current = {instance.socket for instance in self._fleet.instances}
        for socket, client in list(self._clients.items()):
            if socket not in current and not client.in_use:
                del self._clients[socket]
                await client.close()
        now = self._loop.time()
        self._down_until = {s: until for s, until in self._down_until.items() if until > now}

    async def close(self) -> None:
        """Closes all connections."""
        for client in self._clients.values():
            await client.close()

    def _choose(self, variant: Variant, route: Route) -> Instance | None:
        """The first instance in order that is not left alone at the moment.

        Unhealthy ones come last, yet do come: after control's restart all look so for a moment.
        """
        now = self._loop.time()
        for instance in route.order(variant):
            if self._down_until.get(instance.socket, 0.0) <= now:
                return instance
        return None

    def _newest(self, endpoint: str, variant: Variant) -> Variant:
        known = self._fleet.known(endpoint)
        same = [v for v in known.variants if v.name == variant.name] if known else []
        return same[0] if same else variant

    def _leave_alone(self, instance: Instance, route: Route, reason: str) -> None:
        route.lost(instance)
        self._down_until[instance.socket] = self._loop.time() + DOWN_S
        log.warning("instance.unreached", extra={"instance": instance.id, "reason": reason})

    async def _attempt(
        self, instance: Instance, route: Route, headers: list[Header], body: bytes
    ) -> ClientResponse:
        answer = None
        route.sent(instance)
        try:
            answer = await self._exchange(instance, route, headers, body)
        finally:
            route.answered(instance, answer)
        return answer

    async def _exchange(
        self, instance: Instance, route: Route, headers: list[Header], body: bytes
    ) -> ClientResponse:
        client = self._clients.get(instance.socket)
        if client is None:
            client = Client(f"unix:{instance.socket}", self._limits)
            self._clients[instance.socket] = client
        said: list[bytes] = []
        try:
            answer = await client.request(
                "POST",
                b"/invocations",
                headers,
                body,
                timeout_s=self._timeout_s,
                on_interim=lambda _, names: said.append(first(names, b"x-modelplex-state")),
            )
        except ConnectFailed as error:
            raise _Unreached(str(error)) from error
        except ConnectionLost as error:
            if error.unread or said[-1:] == [b"waiting"]:
                raise _Unreached(str(error)) from error
            self._leave_alone(instance, route, str(error))
            raise ServiceUnavailable(
                f"Instance {instance.id} was lost while it may have been answering this request."
            ) from error
        except TimeoutError as error:
            raise ServiceUnavailable(
                f"Instance {instance.id} did not answer within {self._timeout_s:g} s."
            ) from error
        except BadMessage as error:
            log.error("instance.nonsense", extra={"instance": instance.id, "reason": str(error)})
            raise InternalFailure("The instance's answer could not be read.") from error
        if answer.status == 503 and not answer.header(b"x-amzn-errortype"):
            await answer.discard()
            raise _Unreached("it is not ready yet")
        return answer

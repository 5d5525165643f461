"""What this gateway knows of endpoints and instances: control's newest snapshot, kept in memory.

When control is gone the last snapshot stays in use: endpoints answer, changes wait.
"""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass
from typing import Any

from modelplex.http.client import Client, ClientResponse
from modelplex.http.errors import BadMessage

log = logging.getLogger(__name__)

LINE_BYTES_MAX = 64 * 1024 * 1024  # of one snapshot; more: the stream is given up and reopened
_ASK_TIMEOUT_S = 5.0
_RECONNECT_S = 0.2
_ERRORS = (OSError, BadMessage, ValueError, KeyError, TypeError)  # TimeoutError is an OSError


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance of a variant, and its Unix socket. `draining`: it is going to be stopped."""

    id: str
    socket: str
    healthy: bool
    draining: bool = False


@dataclass(frozen=True, slots=True)
class Variant:
    """One production variant."""

    name: str
    weight: float
    multi_model: bool
    instances: tuple[Instance, ...]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint; `status` as DescribeEndpoint has it."""

    name: str
    status: str
    variants: tuple[Variant, ...]

    @property
    def invokable(self) -> bool:
        """Whether requests may be sent: it is in service, or is being changed while in service."""
        return self.status in ("InService", "Updating", "SystemUpdating", "RollingBack")


class Fleet:
    """The newest snapshot. `follow` keeps it so until cancelled."""

    def __init__(self, control: Client) -> None:
        self._control = control
        self._endpoints: dict[str, Endpoint] = {}
        self._change = asyncio.Event()
        self._asking: asyncio.Task[None] | None = None
        self._connected = False
        self.informed = False  # whether there has been a snapshot yet

    @property
    def instances(self) -> frozenset[Instance]:
        """All instances of all endpoints."""
        variants = [v for endpoint in self._endpoints.values() for v in endpoint.variants]
        return frozenset(instance for variant in variants for instance in variant.instances)

    def known(self, name: str) -> Endpoint | None:
        """The endpoint as of the newest snapshot."""
        return self._endpoints.get(name)

    async def find(self, name: str) -> Endpoint | None:
        """The endpoint; control is asked once for news before it is called missing or not ready.

        However many requests miss at the same time, control gets one question.
        """
        endpoint = self._endpoints.get(name)
        if endpoint is not None and endpoint.invokable:
            return endpoint
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())
        await asyncio.shield(self._asking)
        return self._endpoints.get(name)

    async def changed(self, timeout_s: float) -> None:
        """Waits for the next snapshot, at most so long."""
        change = self._change
        try:
            async with asyncio.timeout(timeout_s):
                await change.wait()
        except TimeoutError:
            pass

    async def follow(self) -> None:
        """Takes control's snapshots as they come; connects again whenever the stream ends."""
        while True:
            try:
                response = await self._control.request(
                    "GET", b"/snapshots", [], timeout_s=_ASK_TIMEOUT_S
                )
                self._note(True, "")
                await self._take_lines(response)
                self._note(False, "the stream ended")
            except _ERRORS as error:
                self._note(False, str(error))
            except Exception:  # a defect; without this loop the gateway would grow old unnoticed
                log.exception("fleet.failed")
            await asyncio.sleep(_RECONNECT_S)

    def _note(self, connected: bool, reason: str) -> None:
        """Logs changes alone: an absent control is tried several times a second."""
        if connected != self._connected:
            self._connected = connected
            log.info("fleet.control", extra={"connected": connected, "reason": reason})

    async def _take_lines(self, response: ClientResponse) -> None:
        if response.status != 200:
            raise BadMessage(f"control answered {response.status} to GET /snapshots")
        rest = b""
        async for piece in response:
            *lines, rest = (rest + piece).split(b"\n")
            if lines:
                self._take(json.loads(lines[-1]))
            if len(rest) > LINE_BYTES_MAX:
                raise BadMessage(f"a snapshot is longer than {LINE_BYTES_MAX} bytes")

    async def _ask(self) -> None:
        try:
            status, document = await self._control.json(
                "GET", "/snapshot", timeout_s=_ASK_TIMEOUT_S
            )
            if status == 200:
                self._take(document)
        except _ERRORS as error:
            log.warning("fleet.no_news", extra={"reason": str(error)})
        finally:
            self._asking = None

    def _take(self, document: dict[str, Any]) -> None:
        self._endpoints = {n: _endpoint(n, e) for n, e in document["endpoints"].items()}
        self.informed = True
        self._change.set()
        self._change = asyncio.Event()


def _endpoint(name: str, document: dict[str, Any]) -> Endpoint:
    variants = tuple(_variant(v) for v in document["variants"])
    return Endpoint(name, document["status"], variants)


def _variant(document: dict[str, Any]) -> Variant:
    instances = tuple(_instance(each) for each in document["instances"])
    multi_model = bool(document["multi_model"])
    return Variant(document["name"], float(document["weight"]), multi_model, instances)


def _instance(document: dict[str, Any]) -> Instance:
    healthy, draining = bool(document["healthy"]), bool(document.get("draining"))
    return Instance(document["id"], document["socket"], healthy, draining)

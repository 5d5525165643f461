"""The gateway as a process: settings read, parts wired, the port served until told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import itertools
import logging
import os
import random
import signal
import socket
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from modelplex import logs as logging_setup
from modelplex import settings as settings_file
from modelplex.aws.signatures import Keys, Verifier
from modelplex.core.routing.board import Board
from modelplex.core.routing.placement import PlacementLimits
from modelplex.gateway.control import Control
from modelplex.gateway.delivery import Delivery
from modelplex.gateway.door import Door
from modelplex.gateway.fleet import Fleet
from modelplex.gateway.routes import Routes
from modelplex.gateway.runtime import Runtime
from modelplex.gateway.s3 import S3, EmbeddedStore, ExternalStore
from modelplex.http.client import Client, ClientLimits
from modelplex.http.server import ServerLimits, raise_descriptor_limit, serve, serve_on
from modelplex.settings import Settings

log = logging.getLogger(__name__)

_MARGIN_S = 10.0  # beyond the limits that instances and control keep themselves
_DRAIN_MARGIN_S = 5.0  # of the time until SIGKILL, for what comes after draining
_READY_S = 5.0  # for the first snapshot; clients wait for it in the listen queue, or at a sibling
_SWEEP_S = 1.0
_ROUTES_EVERY = 10  # sweeps


async def run(
    data: Path, name: str, listeners: Sequence[socket.socket], board: Board | None
) -> None:
    """Be the gateway `name` until SIGTERM or SIGINT, on the sockets that the supervisor opened.

    The same is served on run/NAME.sock: there each of several gateways can be asked by itself.
    They share `board`.
    """
    settings = settings_file.load(data)
    logging_setup.configure(settings, name if settings.gateways > 1 else "")
    raise_descriptor_limit()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with open_door(settings, data, board) as door:
        limits = ServerLimits(
            headers_bytes_max=settings.headers_bytes_max,
            idle_timeout_s=settings.idle_timeout_s,
            request_read_timeout_s=settings.request_read_timeout_s,
            connections_max=settings.connections_max,
            bodies_bytes_max=settings.bodies_bytes_max,
        )
        address = f"unix:{data / 'run' / name}.sock"
        private = await serve(door.handle, address, limits, express=door.express)
        await door.ready(_READY_S, stop)
        server = serve_on(door.handle, listeners, limits, express=door.express)
        log.info("gateway.started", extra={"host": settings.host, "port": server.port})
        await stop.wait()
        drain_s = max(1.0, settings.stop_timeout_s - _DRAIN_MARGIN_S)
        await asyncio.gather(server.close(drain_s), private.close(drain_s))
    log.info("gateway.stopped")


@contextlib.asynccontextmanager
async def open_door(
    settings: Settings, data: Path, board: Board | None = None
) -> AsyncIterator[Door]:
    """All parts of a gateway, wired and running; closed at the end of the block."""
    keys = Keys(settings.access_key, settings.secret_key)
    control_limits = ClientLimits(connections_max=settings.connections_max)
    control = Client(f"unix:{data / 'run' / 'control.sock'}", control_limits)
    fleet = Fleet(control)
    answer_s = settings.model_ready_timeout_s + settings.invocation_timeout_s + _MARGIN_S
    delivery = Delivery(fleet, settings.response_bytes_max, answer_s)
    clock = asyncio.get_running_loop().time
    routes = Routes(_placement_limits(settings), clock, random.random, board=board)
    s3 = S3(_store(settings, data))
    door = Door(
        Verifier(keys, settings.clock_skew_s),
        Runtime(fleet, delivery, routes, settings.account),
        s3,
        Control(control, settings.waiter_hold_s + _MARGIN_S),
        body_bytes_max=settings.body_bytes_max,
        control_body_bytes_max=settings.control_body_bytes_max,
        unsigned_invocations=settings.unsigned_invocations,
    )
    sweep = _sweep(fleet, delivery, routes)
    tasks = [asyncio.create_task(fleet.follow()), asyncio.create_task(sweep)]
    try:
        yield door
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        delivery.close()
        for part in (s3, control):
            await part.close()


def die_with_parent() -> None:
    """Have the kernel send SIGTERM when the supervisor dies; go at once if it already has."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        raise SystemExit("The supervisor is gone.")


async def _sweep(fleet: Fleet, delivery: Delivery, routes: Routes) -> None:
    for turn in itertools.cycle(range(_ROUTES_EVERY)):
        await asyncio.sleep(_SWEEP_S)
        delivery.sweep()
        if turn == 0:
            routes.sweep(fleet)


def _placement_limits(settings: Settings) -> PlacementLimits:
    return PlacementLimits(
        imbalance=settings.placement_imbalance,
        utilisation=settings.placement_utilisation,
        window_s=settings.placement_window_s,
        hold_s=settings.placement_hold_s,
        models_max=settings.placement_models_max,
        gateways=max(1, settings.gateways),
    )


def _store(settings: Settings, data: Path) -> EmbeddedStore | ExternalStore:
    if not settings.s3_endpoint:
        return EmbeddedStore(data / "run" / "s3.json")
    keys = Keys(settings.s3_access_key, settings.s3_secret_key)
    return ExternalStore(settings.s3_endpoint, settings.s3_region or settings.region, keys)

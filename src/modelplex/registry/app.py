"""The door as a process: settings read, parts wired, the port served until told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator
from pathlib import Path

from modelplex import logs as logging_setup
from modelplex import settings as settings_file
from modelplex.http.client import Client, ClientLimits
from modelplex.http.server import ServerLimits, serve
from modelplex.registry.door import Door
from modelplex.registry.parts import Part
from modelplex.settings import Settings

log = logging.getLogger(__name__)

UPLOAD_S = 3600.0  # longest that one layer takes to arrive, and the store to check its digest
_DRAIN_MARGIN_S = 5.0  # of the time until SIGKILL, for what comes after draining


async def run(data: Path) -> None:
    """Be the door until SIGTERM or SIGINT."""
    settings = settings_file.load(data)
    logging_setup.configure(settings)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with open_door(settings, data) as door:
        limits = ServerLimits(
            headers_bytes_max=settings.headers_bytes_max,
            idle_timeout_s=settings.idle_timeout_s,
            request_read_timeout_s=settings.request_read_timeout_s,
            connections_max=settings.connections_max,
            bodies_bytes_max=settings.bodies_bytes_max,
        )
        server = await serve(door.handle, _address(settings), limits)
        log.info("registry.started", extra={"host": settings.host, "port": server.port})
        await stop.wait()
        await server.close(max(1.0, settings.stop_timeout_s - _DRAIN_MARGIN_S))
    log.info("registry.stopped")


@contextlib.asynccontextmanager
async def open_door(settings: Settings, data: Path) -> AsyncIterator[Door]:
    """A door with its connections to the store and to control; closed at the block's end."""
    limits = ClientLimits(response_timeout_s=UPLOAD_S)
    store = Client(f"unix:{data / 'run' / 'registry.sock'}", limits)
    control = Client(f"unix:{data / 'run' / 'control.sock'}")
    try:
        yield Door(settings, Part("The registry's store", store), Part("Control", control))
    finally:
        await store.close()
        await control.close()


def _address(settings: Settings) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"tcp:{host}:{settings.registry_port}"

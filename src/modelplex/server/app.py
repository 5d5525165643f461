"""The model server as a process: parts wired, one or two listeners, served until SIGTERM."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import ssl
import sys
import threading
import time

import uvloop

from modelplex.http import heap
from modelplex.http.express import Express
from modelplex.http.server import Server, ServerLimits, raise_descriptor_limit, serve
from modelplex.server.api import cors
from modelplex.server.api.answers import Envelope
from modelplex.server.api.inference import Inference
from modelplex.server.api.management import Management
from modelplex.server.api.routes import Routes
from modelplex.server.artifacts.sources import Sources
from modelplex.server.config import Config, ConfigError
from modelplex.server.logs.journal import Journal
from modelplex.server.serving.models import Models
from modelplex.server.start import tls

log = logging.getLogger(__name__)

_END_S = 2.0  # after draining, for workers to end and files to go; in all less than 30 s
_THREADS_S = 0.5  # what threads that still work get, before the process ends without them
_SWITCH_INTERVAL_S = 0.001  # threads that unpack give way to requests sooner than Python's 5 ms


class StartFailed(Exception):
    """The server cannot begin to serve; the text says why in one line."""


def run(config: Config) -> int:
    """Serves until SIGTERM or SIGINT; the exit status. Ends the process itself if a thread hangs.

    1 if the server could not start, with the reason in one line on stderr.
    """
    raise_descriptor_limit()
    heap.keep_freed()
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    gc.collect()
    gc.freeze()  # what is imported by now stays: no collection has to look at it
    loop = uvloop.new_event_loop()
    try:
        loop.run_until_complete(_serve(config))
        status = 0
    except (StartFailed, ConfigError) as error:
        print(f"modelplex: {error}", file=sys.stderr, flush=True)
        status = 1
    loop.close()
    _leave_threads(status)
    return status


async def _serve(config: Config) -> None:
    """The whole life of the server. Raises StartFailed."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    journal = Journal(config)
    journal.open()
    for warning in config.warnings:
        log.warning("server.config", extra={"warning": warning})
    try:
        sources = Sources(config)
        try:
            await _serve_models(config, Models(config, sources, journal), journal, stop)
        finally:
            await sources.close()
    finally:
        journal.close()


async def _serve_models(
    config: Config, models: Models, journal: Journal, stop: asyncio.Event
) -> None:
    servers: list[Server] = []
    starting = asyncio.create_task(models.start())
    try:
        await _until(starting, stop, models.named)
        if not stop.is_set():
            await _listen(config, models, journal, servers)
            await _until(starting, stop)
    finally:
        log.info("server.stopping", extra={"drain_timeout_s": config.drain_timeout_s})
        try:
            async with asyncio.timeout(config.drain_timeout_s + _END_S):
                await _end(config, models, servers, starting)
        except TimeoutError:  # what is left ends with this process: workers notice
            log.error("server.stop_incomplete")
        log.info("server.stopped")


async def _until(starting: asyncio.Task[None], *events: asyncio.Event) -> None:
    """Waits for one of the events. Raises StartFailed if the models cannot be started before."""
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait((starting, *waits), return_when=asyncio.FIRST_COMPLETED)
        if starting.done() and (error := starting.exception()) is not None:
            log.critical("server.start_failed", exc_info=error)
            raise StartFailed(f"the model server cannot start: {error}") from error
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


async def _end(
    config: Config, models: Models, servers: list[Server], starting: asyncio.Task[None]
) -> None:
    """Answers what is under way, for `drain_timeout_s`, then ends every worker."""
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    closing = [server.close(config.drain_timeout_s) for server in servers]
    await asyncio.gather(*closing, models.close(config.drain_timeout_s))


async def _listen(config: Config, models: Models, journal: Journal, servers: list[Server]) -> None:
    """Begins to listen; puts each listener into `servers` as soon as there is one."""
    envelope = Envelope(cors.headers(config))
    inference = Inference(models, journal, envelope, config.max_request_size)
    management = Management(models, config.max_request_size)
    context = tls.context(config)

    async def listen(address: str, served: Inference | None, managed: Management | None) -> None:
        routes = Routes(models, journal, envelope, served, managed)
        express = served.express if served is not None else None
        servers.append(await _open(address, routes, express, context))

    if config.inference_address == config.management_address:
        await listen(config.inference_address, inference, management)
    else:
        await listen(config.inference_address, inference, None)
        await listen(config.management_address, None, management)


async def _open(
    address: str, routes: Routes, express: Express | None, context: ssl.SSLContext | None
) -> Server:
    """Listens on an address as Config has it. Raises StartFailed."""
    scheme, _, rest = address.partition("://")
    place, secure = (f"tcp:{rest}", scheme == "https") if rest else (address, False)
    assert context is not None or not secure
    try:
        return await serve(
            routes, place, ServerLimits(), express=express, tls=context if secure else None
        )
    except OSError as error:
        reason = error.strerror or str(error)
        raise StartFailed(f"cannot listen on {address}: {reason}") from error


def _leave_threads(status: int) -> None:
    """Ends the process at once if threads work on, for the interpreter would wait for them."""
    deadline = time.monotonic() + _THREADS_S
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                logging.shutdown()
                os._exit(status)

"""The door of control: `python -m modelplex.control --data DIR`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import time
from pathlib import Path

from modelplex import logs as logging_setup
from modelplex import settings as settings_file
from modelplex.aws.errors import Protocol, respond
from modelplex.control.calls import Calls, unknown
from modelplex.control.logs import Logs
from modelplex.control.observe import Observatory
from modelplex.control.processes import Processes
from modelplex.control.provider import Provider
from modelplex.control.realm import Realm
from modelplex.control.reconciler import Reconciler
from modelplex.control.records import Records
from modelplex.control.snapshots import Snapshots
from modelplex.control.specs import Keys, Specs
from modelplex.control.waiting import Changes
from modelplex.http.messages import Request, Response, explain
from modelplex.http.server import Server, ServerLimits, serve
from modelplex.images.store import ImageStore
from modelplex.settings import Settings

log = logging.getLogger(__name__)

SERVICES = ("sagemaker", "sts", "iam", "logs")
_DRAIN_S = 2.0  # for answers that are being written when control is stopped


class Control:
    """Everything of control, wired: the doors, the records and the reconciler."""

    def __init__(
        self, settings: Settings, keys: Keys, provider: Provider, records: Records
    ) -> None:
        images = ImageStore(settings.data / "images")
        self._changes = Changes()
        self.snapshots = Snapshots()
        self.reconciler = Reconciler(
            settings=settings,
            records=records,
            provider=provider,
            specs=Specs(settings, keys, images),
            snapshots=self.snapshots,
            changes=self._changes,
        )
        realm = Realm(
            settings=settings,
            records=records,
            images=images,
            clock=time.time,
            changed=self.reconciler.wake,
            healthy=self.reconciler.healthy,
        )
        self._calls = Calls(realm, Logs(settings.data / "logs", settings), self._changes)
        self._observatory = Observatory(realm, self.reconciler.fleet, images)
        self._settings = settings

    async def handle(self, request: Request) -> Response:
        """One request of the gateway."""
        match request.method, request.path.decode("latin-1").strip("/").split("/"):
            case "POST", ["aws", service] if service in SERVICES:
                return await self._calls.answer(service, request)
            case "POST", ["aws", service]:
                request_id = request.header(b"x-amzn-requestid").decode("latin-1")
                return Response(*respond(unknown(service), Protocol.JSON, request_id))
            case "GET", ["snapshots"]:
                headers = [(b"content-type", b"application/x-ndjson")]
                return Response(200, headers, self.snapshots.follow())
            case "GET", ["snapshot"]:
                headers = [(b"content-type", b"application/json")]
                return Response(200, headers, await self.snapshots.newest())
            case _, ["modelplex", *_]:
                return await self._observatory.answer(request)
        return explain(404, f"There is no {request.method} {request.path.decode('latin-1')}.")

    async def serve(self, address: str) -> Server:
        """Listen on an address."""
        limits = ServerLimits(
            headers_bytes_max=self._settings.headers_bytes_max + 4096,  # what the gateway adds
            connections_max=self._settings.connections_max,
        )
        return await serve(self.handle, address, limits)


async def run(data: Path) -> None:
    """Be control until SIGTERM or SIGINT."""
    settings = settings_file.load(data)
    logging_setup.configure(settings)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    records = Records(data / "records.sqlite")
    provider = Processes(data, settings.stop_timeout_s)
    control = Control(settings, _keys(data), provider, records)
    reconciling = asyncio.create_task(control.reconciler.run())
    reconciling.add_done_callback(lambda _: stop.set())  # without it, control is of no use
    server = await control.serve(f"unix:{data / 'run' / 'control.sock'}")
    log.info("control.started", extra={"data": str(data)})
    await stop.wait()
    await server.close(_DRAIN_S)
    reconciling.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await reconciling
    await provider.close()
    records.close()
    log.info("control.stopped")


def _keys(data: Path) -> Keys:
    document = json.loads((data / "credentials.json").read_text())
    return Keys(document["access_key"], document["secret_key"])

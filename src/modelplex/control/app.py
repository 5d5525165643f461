"""The door of control: `python -m modelplex.control --data DIR`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Sequence
from pathlib import Path

from modelplex import logs as logging_setup
from modelplex import settings as settings_file
from modelplex.cloudwatch.operations import Logs
from modelplex.control.builds import BUILDER, Builds
from modelplex.control.calls import Calls
from modelplex.control.observe import Observatory
from modelplex.control.outside import outside
from modelplex.control.processes import Processes
from modelplex.control.provider import Provider
from modelplex.control.realm import Realm
from modelplex.control.reconciler import Reconciler
from modelplex.control.records import Records
from modelplex.control.repositories import RecordedRepositories
from modelplex.control.specs import Specs
from modelplex.control.wishes import Wishes
from modelplex.ecr.operations import Ecr
from modelplex.http.messages import Request, Response, explain
from modelplex.http.server import Server, ServerLimits, serve
from modelplex.images.catalogue import Catalogue
from modelplex.images.store import ImageStore
from modelplex.settings import Settings

log = logging.getLogger(__name__)

_DRAIN_S = 2.0  # for answers that are being written when control is stopped
_CONTAINER_S = 10.0  # an instance gives its container all of stop_timeout_s, and has to see it end


class Control:
    """Everything of control, wired: the doors, the records and the reconciler."""

    def __init__(
        self,
        settings: Settings,
        provider: Provider,
        records: Records,
        builder: Sequence[str] = BUILDER,
    ) -> None:
        """`builder` is the command that builds built-in images."""
        images = ImageStore(settings.data / "images")
        self._builds = Builds(settings.data, images, builder)
        specs = Specs(settings, images)
        self.reconciler = Reconciler(settings, records, provider, specs, self._builds)
        self.snapshots = self.reconciler.snapshots
        fleet = self.reconciler.fleet
        catalogue = Catalogue(images, outside(settings))
        realm = Realm(settings, records, catalogue, self.reconciler.wake, fleet.is_healthy)
        logs = Logs(settings.data / "logs", settings.account, settings.region)
        self._repositories = RecordedRepositories(records)
        ecr = Ecr(settings, self._repositories)
        self._calls = Calls(realm, logs, ecr, self.snapshots.changes)
        self._observatory = Observatory(realm, fleet, self._builds)
        self.wishes = Wishes(realm, fleet)
        self._settings = settings

    async def handle(self, request: Request) -> Response:
        """One request of the gateway."""
        match request.method, request.path.decode("latin-1").strip("/").split("/"):
            case "POST", ["aws", service]:
                return await self._calls.answer(service, request)
            case "GET", ["repositories", *parts]:
                return self._repositories.show("/".join(parts))
            case "GET", ["snapshots"]:
                headers = [(b"content-type", b"application/x-ndjson")]
                return Response(200, headers, self.snapshots.follow())
            case "GET", ["snapshot"]:
                headers = [(b"content-type", b"application/json")]
                return Response(200, headers, await self.snapshots.newest())
            case _, ["modelplex", "endpoints", _, "rules"] | [
                "modelplex",
                "endpoints",
                _,
                "models",
                _,
                "rollback",
            ]:
                return await self.wishes.answer(request)
            case _, ["modelplex", *_]:
                return await self._observatory.answer(request)
        return explain(404, f"There is no {request.method} {request.path.decode('latin-1')}.")

    async def run(self) -> None:
        """Make promises true and deliver wishes, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.reconciler.run())
            group.create_task(self.wishes.run())

    async def serve(self, address: str) -> Server:
        """Listen on an address."""
        limits = ServerLimits(
            headers_bytes_max=self._settings.headers_bytes_max + 4096,  # what the gateway adds
            connections_max=self._settings.connections_max,
            bodies_bytes_max=self._settings.bodies_bytes_max,
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
    provider = Processes(data, settings.stop_timeout_s + _CONTAINER_S)
    control = Control(settings, provider, records)
    running = asyncio.create_task(control.run())
    running.add_done_callback(lambda _: stop.set())  # without it, control is of no use
    server = await control.serve(f"unix:{data / 'run' / 'control.sock'}")
    log.info("control.started", extra={"data": str(data)})
    await stop.wait()
    control.snapshots.end()  # gateways follow them without end, and are no reason to wait
    await server.close(_DRAIN_S)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    await provider.close()
    records.close()
    log.info("control.stopped")

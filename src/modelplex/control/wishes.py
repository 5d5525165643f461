"""The doors where an endpoint's owner says what is wanted for its models, and the way from there
to the instances: to each one until it has taken it, and again to each new process.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
from collections.abc import AsyncIterator, Iterator
from urllib.parse import unquote

from modelplex.control import rules
from modelplex.control.endpoints import alive
from modelplex.control.fleet import Fleet
from modelplex.control.realm import Realm
from modelplex.control.records import Document, Kind, Record
from modelplex.control.rules import BadRules
from modelplex.http.errors import BodyTooLarge
from modelplex.http.messages import Request, Response, explain

log = logging.getLogger(__name__)

_RETRY_S = 1.0  # between two tries to reach instances that have not taken their rules


class NotPossible(Exception):
    """The wish cannot be fulfilled now; status and text say why."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Wishes:
    """Rules and rollbacks of all endpoints."""

    def __init__(self, realm: Realm, fleet: Fleet) -> None:
        self._realm = realm
        self._fleet = fleet
        self._taken: dict[str, tuple[float, Document]] = {}  # by instance: its process's start
        self._delivering = asyncio.Lock()

    async def answer(self, request: Request) -> Response:
        """The answer to a request below /modelplex/endpoints/NAME/ about rules or versions."""
        path = request.path.decode("latin-1").strip("/").split("/")
        name, *rest = [unquote(part) for part in path[2:]]
        try:
            record = self._record(name)
            match request.method, rest:
                case "GET", ["rules"]:
                    return _json(rules.of(self._realm.records, record.arn))
                case "PUT", ["rules"]:
                    return _json(await self._replace(record, await self._document(request)))
                case "POST", ["models", model, "rollback"]:
                    return _json(await self._roll_back(record, model))
        except NotPossible as problem:
            return explain(problem.status, str(problem))
        except BadRules as problem:
            return explain(400, str(problem))
        except BodyTooLarge as error:
            return explain(413, f"The request's body is longer than {error.limit} bytes.")
        return explain(404, f"There is no {request.method} {request.path.decode('latin-1')}.")

    async def run(self) -> None:
        """Deliver what instances have not taken yet, until cancelled."""
        while True:
            await asyncio.sleep(_RETRY_S)
            try:
                await self._deliver()
            except sqlite3.Error:  # what instances have been told stands; it is tried again
                log.exception("records.failed")

    # -- what is wanted ---------------------------------------------------------------------------

    def _record(self, name: str) -> Record:
        record = self._realm.records.get(Kind.ENDPOINT, name)
        if record is None:
            raise NotPossible(404, f"There is no endpoint named {name!r}.")
        return record

    async def _document(self, request: Request) -> object:
        body = await request.body.read(self._realm.settings.control_body_bytes_max)
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            raise BadRules(f"The request's body is not JSON: {error}.") from None

    async def _replace(self, record: Record, document: object) -> Document:
        wanted = rules.replace(self._realm.records, record.arn, document)
        log.info("rules.changed", extra={"endpoint": record.name})
        await self._deliver()
        return wanted | {"pending": self._pending(record, wanted)}

    async def _roll_back(self, record: Record, model: str) -> Document:
        """Reject the version of a model that began to serve last; the one before it serves then."""
        rows = [row async for row in self._rows(record, model)]
        if not rows:
            raise NotPossible(404, f"No instance of {record.name} has a model named {model!r}.")
        version = max(rows, key=lambda row: row["loaded_at"] or 0.0)["version"]
        ready = [row["previous"] for row in rows if row["version"] == version and row["previous"]]
        if not (version and ready):
            raise NotPossible(
                409,
                f"No instance of {record.name} has a version of {model} on its disk that came "
                f"before {version or 'the one that serves'}. Upload the artifact that you want.",
            )
        wanted = rules.reject(self._realm.records, record.arn, model, version)
        log.info("model.rolled_back", extra={"endpoint": record.name, "model": model})
        await self._deliver()
        pending = self._pending(record, wanted)
        return {"model": model, "from": version, "to": ready[0], "pending": pending}

    async def _rows(self, record: Record, model: str) -> AsyncIterator[Document]:
        """The rows of the versions of a model that serve, one per instance that has it."""
        for instance in self._instances(record):
            report = await self._fleet.ask(instance, "/report") or {"models": []}
            for row in report["models"]:
                if row["model"] == model and row["standing"] == "serving":
                    yield row

    # -- delivery ---------------------------------------------------------------------------------

    def _instances(self, record: Record) -> list[str]:
        found = [each for each in alive(self._realm) if each.record.arn == record.arn]
        return [instance for each in found for instance in each.instances]

    async def _deliver(self) -> None:
        async with self._delivering:
            due = list(self._due())
            await asyncio.gather(*(self._tell(*each) for each in due))

    def _due(self) -> Iterator[tuple[str, float, Document]]:
        """Instances that run, since when, and the document that they have not taken."""
        running: dict[str, tuple[float, Document]] = {}
        for deployment in alive(self._realm):
            wanted = self._realm.records.rules(deployment.record.arn)
            for instance in deployment.instances:
                process = self._fleet.processes.get(instance)
                if wanted is not None and process is not None and process.running:
                    running[instance] = process.started_at, wanted
        self._taken = {each: self._taken[each] for each in self._taken if each in running}
        for instance, (started_at, wanted) in running.items():
            if self._taken.get(instance) != (started_at, wanted):
                yield instance, started_at, wanted

    async def _tell(self, instance: str, started_at: float, wanted: Document) -> None:
        if await self._fleet.tell(instance, "/rules", wanted):
            self._taken[instance] = started_at, wanted

    def _pending(self, record: Record, wanted: Document) -> list[str]:
        """The instances that have not taken the document yet."""
        return [i for i in self._instances(record) if self._taken.get(i, (0.0, None))[1] != wanted]


def _json(document: object) -> Response:
    body = json.dumps(document).encode()
    return Response(200, [(b"content-type", b"application/json")], body)

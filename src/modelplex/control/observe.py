"""What AWS has no call for: where models are, what instances do, what the platform is.

Everything is asked of the instances at the moment of the question; one that does not answer is
left out of models and events, and shown by its last known health among the instances.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any
from urllib.parse import parse_qs, quote, unquote

import modelplex
from modelplex.aws import tokens
from modelplex.control import capacity, deployments
from modelplex.control.builds import Builds
from modelplex.control.endpoints import alive
from modelplex.control.fleet import Fleet
from modelplex.control.realm import Realm
from modelplex.control.records import Document, Kind
from modelplex.ecr import names
from modelplex.http.messages import Request, Response, explain


class NotThere(Exception):
    """The path or query names nothing; the text says what."""


class Observatory:
    """The doors under /modelplex/."""

    def __init__(self, realm: Realm, fleet: Fleet, builds: Builds) -> None:
        self._realm = realm
        self._builds = builds
        self._fleet = fleet
        self._began = time.monotonic()

    async def answer(self, request: Request) -> Response:
        """The answer to one request whose path begins with /modelplex/."""
        parts = [unquote(part) for part in request.path.decode("latin-1").strip("/").split("/")]
        query = parse_qs(request.query.decode("latin-1"))
        try:
            match request.method, parts[1:]:
                case "GET", ["status"]:
                    return _json(self._status())
                case "GET", ["endpoints", name, "models"]:
                    return _json({"models": await self._models(name)})
                case "GET", ["endpoints", name, "instances"]:
                    return _json({"instances": await self._instances(name)})
                case "GET", ["endpoints", name, "builds"]:
                    return _json({"builds": self._builds_of(name)})
                case "GET", ["endpoints", name, "explain"]:
                    return _json({"instances": await self._explain(name, query["model"][0])})
                case "GET", ["endpoints", name, "events"]:
                    return _json(await self._events(name, query.get("after", [""])[0]))
        except KeyError as error:
            return explain(400, f"The query lacks {error}.")
        except NotThere as error:
            return explain(404, str(error))
        except ValueError as error:
            return explain(400, str(error))
        return explain(404, f"There is no {request.method} {request.path.decode('latin-1')}.")

    def _status(self) -> Document:
        settings = self._realm.settings
        return {
            "version": modelplex.__version__,
            "uptime_s": round(time.monotonic() - self._began, 3),
            "settings": settings.public(),
            "processes": {name: asdict(each) for name, each in self._fleet.everything.items()},
            "builds": self._builds.under_way(),
            "registry": names.address(settings) if settings.registry else None,
            "sizing": capacity.describe(settings, alive(self._realm)),
        }

    async def _models(self, name: str) -> list[Document]:
        reports = await self._ask(name, "/report")
        return [
            {"instance": instance, "variant": variant, **row}
            for (variant, instance), report in reports.items()
            if report is not None
            for row in report["models"]
        ]

    async def _instances(self, name: str) -> list[Document]:
        reports = await self._ask(name, "/report")
        return [
            {
                "id": instance,
                "variant": variant,
                "health": self._fleet.health(instance),
                **{key: value for key, value in (report or {}).items() if key != "models"},
            }
            for (variant, instance), report in reports.items()
        ]

    def _builds_of(self, name: str) -> list[Document]:
        """What is being built before instances of an endpoint can start."""
        self._slots(name)
        return [each for each in self._builds.under_way() if name in each["endpoints"]]

    async def _explain(self, name: str, model: str) -> list[Document]:
        answers = await self._ask(name, f"/explain?model={quote(model, safe='')}")
        return [
            {"instance": instance, "variant": variant, **answer}
            for (variant, instance), answer in answers.items()
            if answer is not None
        ]

    async def _events(self, name: str, token: str) -> Document:
        """All instances' events after a token, by time; the answer's `next` is the next token."""
        after = _read_token(token, name)
        slots = self._slots(name)
        asked = [self._events_of(instance, after.get(instance, 0)) for _, instance in slots]
        events: list[Document] = []
        for (variant, instance), answer in zip(slots, await asyncio.gather(*asked), strict=True):
            if answer is not None:
                after[instance] = answer["next"]
                events += [
                    {"instance": instance, "variant": variant, **e} for e in answer["events"]
                ]
        events.sort(key=lambda event: event["at"])
        return {"next": tokens.give(name, after), "events": events}

    async def _events_of(self, instance: str, after: int) -> Any | None:
        """One instance's news; all of it where another process now counts from the beginning."""
        answer = await self._fleet.ask(instance, f"/events?after={after}")
        if answer is not None and answer["next"] < after:
            return await self._fleet.ask(instance, "/events?after=0")
        return answer

    async def _ask(self, name: str, target: str) -> Mapping[tuple[str, str], Any]:
        slots = self._slots(name)
        answers = await asyncio.gather(*(self._fleet.ask(each, target) for _, each in slots))
        return dict(zip(slots, answers, strict=True))

    def _slots(self, name: str) -> list[tuple[str, str]]:
        """(variant, instance) of everything that an endpoint wants."""
        record = self._realm.records.get(Kind.ENDPOINT, name)
        if record is None:
            raise NotThere(f"There is no endpoint named {name!r}.")
        found = deployments.read(record, self._realm.settings)
        variants = found.variants if found.is_alive else ()
        return [(each.name, instance) for each in variants for instance in each.instances]


def _read_token(token: str, endpoint: str) -> dict[str, int]:
    """What a token says; {} for none. ValueError for something that is no token."""
    found = tokens.read(token, endpoint) if token else {}
    if not isinstance(found, dict) or not all(isinstance(each, int) for each in found.values()):
        raise ValueError(f"{token[:64]!r} is not a token of this door.")
    return found


def _json(document: object) -> Response:
    body = json.dumps(document).encode()
    return Response(200, [(b"content-type", b"application/json")], body)

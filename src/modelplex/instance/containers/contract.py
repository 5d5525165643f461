"""The published container contract, from the side of the platform.

    GET /ping                      200 within 2 s
    GET /models                    what is loaded, in pages
    POST /models                   load; 409 it is loaded, 507 there is no memory for it
    DELETE /models/ID              unload; 404 it is not loaded
    POST /models/ID/invoke         one answer
    POST /invocations              the same of a single-model container

(AWS: "Custom Containers Contract for Multi-Model Endpoints"; "Use Your Own Inference Code".) Every
body and every wait has a limit. What a container answers is returned, whatever its status.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from modelplex.http.client import Client, ClientLimits, ClientResponse
from modelplex.http.errors import BadMessage, BodyTooLarge, ConnectFailed, ConnectionLost
from modelplex.http.messages import Data, Header
from modelplex.workers.invocations import Answer

JSON = (b"content-type", b"application/json")
TARGET_MODEL = b"x-amzn-sagemaker-target-model"
INVOCATIONS = b"/invocations"
UNKNOWN = 404  # the answer to whatever concerns a model that is not loaded
WORD_BYTES_MAX = 1024 * 1024  # of an answer that is not a model's
PAGES_MAX = 1000  # of GET /models; the contract has no number
SHOWN = 500  # characters of an answer in a sentence
IDLE_S = 1.5  # then a connection is closed: gunicorn closes its own after 2 s
ADMIN_CONNECTIONS_MAX = 64  # beside those of requests, so that a ping waits for nobody


class NoAnswer(Exception):
    """The container did not answer, or with what is no HTTP; the text says so.

    `sent`: whether it may have seen any of the request.
    """

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class Late(NoAnswer):
    """It had not answered when the time was over."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the container said to an order."""

    status: int
    body: bytes

    @property
    def good(self) -> bool:
        """Whether it did what it was told."""
        return 200 <= self.status < 300

    @property
    def text(self) -> str:
        """Its message, if it is one of Multi Model Server's documents; else the body's begin."""
        document = _document(self.body)
        message = document.get("message") if isinstance(document, dict) else None
        return str(message or self.body[: 4 * SHOWN].decode("utf-8", "replace"))[:SHOWN].strip()


class Contract:
    """Speaks to the container at an address. Every method raises NoAnswer, Late when in time."""

    def __init__(self, address: str, ping_timeout_s: float, connections_max: int) -> None:
        """`connections_max`: for requests to models."""
        self._ping_timeout_s = ping_timeout_s
        admin = ClientLimits(connections_max=ADMIN_CONNECTIONS_MAX, idle_timeout_s=IDLE_S)
        models = ClientLimits(connections_max=connections_max, idle_timeout_s=IDLE_S)
        self._admin = Client(address, admin)
        self._models = Client(address, models)
        self._targets: dict[str, str] = {}  # of the models that it was told to load

    async def ping(self) -> str:
        """Why it is not healthy; "" if it is."""
        try:
            reply = await self._order("GET", "/ping", self._ping_timeout_s)
        except NoAnswer as error:
            return str(error)
        return "" if reply.status == 200 else f"GET /ping was answered {reply.status} {reply.text}"

    async def lists(self) -> str:
        """Why it is no multi-model container by the answer to `GET /models`; "" if it is."""
        try:
            reply = await self._order("GET", "/models", self._ping_timeout_s)
        except NoAnswer as error:
            return str(error)
        good = reply.status == 200
        return "" if good else f"GET /models was answered {reply.status} {reply.text}"

    async def models(self) -> AsyncIterator[str]:
        """The names of the models that it has loaded, page by page."""
        token = ""
        for _ in range(PAGES_MAX):
            query = f"?next_page_token={quote(token, safe='')}" if token else ""
            reply = await self._order("GET", f"/models{query}", self._ping_timeout_s)
            document = _document(reply.body)
            if reply.status != 200 or not isinstance(document, dict):
                text = f"GET /models was answered {reply.status} {reply.text}"
                raise NoAnswer(text, sent=True)
            for row in document.get("models") or []:
                if isinstance(row, dict) and "modelName" in row:
                    yield str(row["modelName"])
            token = str(document.get("nextPageToken") or "")
            if not token:
                return

    async def load(self, name: str, url: str, timeout_s: float, target: str) -> Reply:
        """Have it load the model in a folder of its own view.

        `target` is what requests will name it: Triton keeps it under that and not under `name`.
        """
        document = json.dumps({"model_name": name, "url": url}).encode()
        self._targets[name] = target
        headers = [JSON, *self._named(name)]
        return await self._order("POST", "/models", timeout_s, document, headers)

    async def unload(self, name: str, timeout_s: float) -> Reply:
        """Have it unload a model."""
        path = f"/models/{quote(name, safe='')}"
        reply = await self._order("DELETE", path, timeout_s, headers=self._named(name))
        if reply.good or reply.status == UNKNOWN:
            self._targets.pop(name, None)
        return reply

    def _named(self, name: str) -> list[Header]:
        """What SageMaker's orders say of a model beside its opaque name; nothing of a stray."""
        target = self._targets.get(name)
        return [] if target is None else [(TARGET_MODEL, target.encode())]

    async def invoke(
        self,
        target: bytes,
        headers: list[Header],
        body: Data,
        timeout_s: float,
        answer_bytes_max: int,
    ) -> Answer:
        """A model's answer. One that is longer than allowed becomes a 500 that says so."""
        asked = f"POST {target.decode()}"
        async with _answered(asked, timeout_s):
            response = await self._models.request(
                "POST", target, headers, body, timeout_s=timeout_s
            )
            try:
                content = await response.read(answer_bytes_max)
            except BodyTooLarge:
                text = f"the container's answer is longer than {answer_bytes_max} bytes"
                return Answer(500, "", [], text.encode())
        return Answer(response.status, "", response.headers, content)

    async def close(self) -> None:
        """Close all connections."""
        await asyncio.gather(self._admin.close(), self._models.close())

    async def _order(
        self,
        method: str,
        target: str,
        timeout_s: float,
        body: bytes = b"",
        headers: Sequence[Header] = (),
    ) -> Reply:
        async with _answered(f"{method} {target}", timeout_s):
            response = await self._admin.request(
                method, target.encode(), list(headers), body, timeout_s=timeout_s
            )
            return Reply(response.status, await _words(response))


@contextlib.asynccontextmanager
async def _answered(asked: str, timeout_s: float) -> AsyncIterator[None]:
    """What can happen to a request, as NoAnswer and Late."""
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except TimeoutError as error:
        raise Late(f"{asked} was not answered within {timeout_s:g} s", sent=True) from error
    except ConnectFailed as error:
        raise NoAnswer(f"{asked} could not be sent: {error}", sent=False) from error
    except ConnectionLost as error:
        raise NoAnswer(f"{asked} was not answered: {error}", sent=error.sent) from error
    except BadMessage as error:
        raise NoAnswer(f"{asked} was answered with no HTTP: {error}", sent=True) from error


async def _words(response: ClientResponse) -> bytes:
    """The body of an answer to an order; of one that is too long nothing."""
    try:
        return await response.read(WORD_BYTES_MAX)
    except BodyTooLarge:
        return b""


def _document(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None

"""Every request to the registry passes here: who asks, for which repository, then on to the store.

The store is Debian's docker-registry on a Unix socket, which knows of no users. Bodies stream both
ways, whatever their size; only a manifest that sets a tag of an immutable repository is held.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import logging
import time
from collections.abc import AsyncIterable, Callable

from modelplex.ecr import names, tokens
from modelplex.ecr.storage import MANIFEST_BYTES_MAX, Shelf
from modelplex.http.errors import BodyTooLarge
from modelplex.http.forwarding import end_to_end, passed
from modelplex.http.messages import Request, Response, explain
from modelplex.registry import answers, paths
from modelplex.registry.answers import Refused
from modelplex.registry.parts import Part
from modelplex.registry.paths import Asked
from modelplex.settings import Settings

log = logging.getLogger(__name__)

_CONTROL_BYTES_MAX = 64 * 1024  # of an answer of control's
_SMALL_BODY_MAX = 256 * 1024  # bytes; a body that is all here is sent in one piece


class Door:
    """Turns requests into answers; `clock` tells Unix seconds."""

    def __init__(
        self,
        settings: Settings,
        store: Part,
        control: Part,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._store = store
        self._control = control
        self._clock = clock

    async def handle(self, request: Request) -> Response:
        """The answer to one request, in the registry's own form."""
        try:
            if request.path == b"/ping":
                return await self._ping()
            response = await self._answer(request)
        except Refused as refused:
            response = refused.response()
        _log(request, response.status)
        return response

    async def _ping(self) -> Response:
        """For the supervisor, which waits until the store answers."""
        answer = await self._store.send("GET", b"/v2/", [])
        await answer.discard()
        return explain(200, "The registry answers.")

    async def _answer(self, request: Request) -> Response:
        self._check_password(request)
        asked = paths.read(request.method, request.path)
        if asked is None:
            raise answers.no_such_path(request.method, request.path)
        immutable = asked.repository != "" and await self._is_immutable(asked.repository)
        if immutable and asked.pushed_tag:
            body: bytes | AsyncIterable[bytes] = await self._for_free_tag(asked, request)
        else:
            body = await _body(request)
        headers = [h for h in end_to_end(request.headers) if h[0] != b"authorization"]
        return passed(await self._store.send(request.method, request.target, headers, body))

    def _check_password(self, request: Request) -> None:
        """Raises Refused unless the request carries one of our tokens."""
        password = _password(request.header(b"authorization"))
        expires_at = tokens.expiry(self._settings.secret_key, password)
        if expires_at is None:
            raise answers.no_credentials(names.address(self._settings))
        if self._clock() >= expires_at:
            raise answers.expired()

    async def _is_immutable(self, repository: str) -> bool:
        """Whether its tags are. Raises Refused where there is no such repository."""
        answer = await self._control.send("GET", f"/repositories/{repository}".encode(), [])
        found = await answer.read(_CONTROL_BYTES_MAX)
        if answer.status == 404:
            raise answers.no_repository(repository, self._settings.account)
        return bool(json.loads(found)["immutable"])

    async def _for_free_tag(self, asked: Asked, request: Request) -> bytes:
        """The manifest that is pushed. Raises Refused where its tag is another image's."""
        manifest = await _manifest(request)
        shelf = Shelf(self._settings.data / "registry", asked.repository)
        held = await asyncio.to_thread(shelf.resolve, asked.pushed_tag)
        if held not in (None, f"sha256:{hashlib.sha256(manifest).hexdigest()}"):
            raise answers.immutable(asked.repository, asked.pushed_tag)
        return manifest


def _password(authorization: bytes) -> str:
    """The password of Basic credentials of the user AWS, "" for any others."""
    scheme, _, credentials = authorization.partition(b" ")
    if scheme.lower() != b"basic":
        return ""
    try:
        user, _, password = base64.b64decode(credentials).decode().partition(":")
    except ValueError:
        return ""
    return password if user == tokens.USER else ""


async def _body(request: Request) -> bytes | AsyncIterable[bytes]:
    """A body that is all here as bytes, which can be sent twice; any other as it comes."""
    length = request.body.length
    if request.body.complete and length is not None and length <= _SMALL_BODY_MAX:
        return await request.body.read(_SMALL_BODY_MAX)
    return request.body


async def _manifest(request: Request) -> bytes:
    try:
        return await request.body.read(MANIFEST_BYTES_MAX)
    except BodyTooLarge as error:
        text = f"A manifest is at most {error.limit} bytes."
        raise Refused(413, "MANIFEST_INVALID", text) from error


def _log(request: Request, status: int) -> None:
    """One line per request: refusals and failures at level info, all others at debug, among them
    what every push begins with: no password yet, no such layer yet."""
    is_usual = status < 400 or status == 401 or (status == 404 and request.method == "HEAD")
    level = logging.DEBUG if is_usual else logging.INFO
    path = request.path.decode("latin-1")
    fields = {"method": request.method, "path": path, "status": status, "peer": request.peer}
    log.log(level, "request", extra=fields)

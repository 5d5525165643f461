"""One request to a container at a time, and what is said about it when it was not kept to."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from modelplex.check.outcomes import CouldNotRun, Failed
from modelplex.http.client import Client, ClientLimits
from modelplex.http.errors import BadMessage, ConnectFailed, ConnectionLost
from modelplex.http.messages import Header

ANSWER_BYTES_MAX = 64 * 1024 * 1024
_SHOWN = 200  # characters of a body in a text


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; `sent` says what it answers."""

    sent: str
    status: int
    headers: list[Header]
    body: bytes
    took_s: float

    @property
    def story(self) -> str:
        """What was sent and what came back, for a person."""
        return f"{self.sent} was answered {self.status} {_shown(self.body)}".rstrip()

    def expect(self, *statuses: int) -> Answer:
        """Itself; Failed when its status is none of these."""
        if self.status not in statuses:
            wanted = " or ".join(str(each) for each in statuses)
            raise Failed(f"{self.story}; the contract says {wanted}")
        return self

    def document(self) -> dict[str, Any]:
        """The JSON object it carries; Failed when it carries none."""
        try:
            found = json.loads(self.body)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise Failed(f"{self.story}; a JSON object was expected")
        return found


class Caller:
    """Speaks to the container at `url` (`http://host:port`), with a new connection per request.

    A server may close a kept connection at any time, which would look like a failure of its own.
    """

    def __init__(self, url: str, timeout_s: float) -> None:
        self.url = url
        self._address = _address(url)
        self._timeout_s = timeout_s

    async def call(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> Answer:
        """The answer; Failed when there is none within the limit (for all of it)."""
        limit_s = timeout_s or self._timeout_s
        sent = f"{method} {target} {_shown(body)}".rstrip()
        given = [(name.lower().encode(), text.encode()) for name, text in (headers or {}).items()]
        client = Client(self._address, ClientLimits(connect_timeout_s=limit_s))
        began = time.monotonic()
        try:
            async with asyncio.timeout(limit_s):
                reply = await client.request(
                    method, target.encode(), given, body, timeout_s=limit_s
                )
                content = await reply.read(ANSWER_BYTES_MAX)
        except TimeoutError:
            raise Failed(f"{sent} was not answered within {limit_s:g} s") from None
        except (ConnectFailed, ConnectionLost, BadMessage) as error:
            raise Failed(f"{sent} was not answered: {error}") from error
        finally:
            await client.close()
        return Answer(sent, reply.status, reply.headers, content, time.monotonic() - began)


def _address(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/"):
        raise CouldNotRun(f"{url!r} is no address of a container: give http://HOST:PORT")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    kind, port = ("tls", 443) if parts.scheme == "https" else ("tcp", 80)
    return f"{kind}:{host}:{parts.port or port}"


def _shown(body: bytes) -> str:
    """The beginning of a body on one line."""
    text = " ".join(body[: 4 * _SHOWN].decode(errors="replace").split())
    whole = len(body) <= 4 * _SHOWN and len(text) <= _SHOWN
    return text if whole else f"{text[:_SHOWN]}… ({len(body)} bytes)"

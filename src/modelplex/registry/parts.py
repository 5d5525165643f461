"""What is behind the door: the store and control, either of which may be starting again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable

from modelplex.http.client import Client, ClientResponse
from modelplex.http.errors import BadMessage, ConnectFailed, ConnectionLost
from modelplex.http.messages import Header
from modelplex.registry.answers import Refused, unavailable

log = logging.getLogger(__name__)

RESTART_WAIT_S = 5.0  # how long a request waits for a part that is being started again
_RETRY_S = 0.1
_SAFE = ("GET", "HEAD")


class Part:
    """One of them; `name` begins a sentence."""

    def __init__(self, name: str, client: Client, patience_s: float = RESTART_WAIT_S) -> None:
        self._name = name
        self._client = client
        self._patience_s = patience_s

    async def send(
        self,
        method: str,
        target: bytes,
        headers: list[Header],
        body: bytes | AsyncIterable[bytes] = b"",
    ) -> ClientResponse:
        """Its answer. Waits for a part that cannot be reached, and asks again where that changes
        nothing; Refused when it stays away."""
        deadline = asyncio.get_running_loop().time() + self._patience_s
        while True:
            try:
                return await self._client.request(method, target, headers, body)
            except (ConnectFailed, ConnectionLost) as error:
                again = isinstance(error, ConnectFailed) or method in _SAFE
                if not again or asyncio.get_running_loop().time() > deadline:
                    raise self._unreached(error) from error
            except (BadMessage, TimeoutError) as error:
                raise self._unreached(error) from error
            await asyncio.sleep(_RETRY_S)

    def _unreached(self, error: Exception) -> Refused:
        log.warning("registry.unreached", extra={"part": self._name, "reason": str(error)})
        return unavailable(self._name)

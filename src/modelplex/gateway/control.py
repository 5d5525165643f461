"""Everything that is neither InvokeEndpoint nor S3 goes to control, and its answer back."""

from __future__ import annotations

import asyncio
import logging

from modelplex.aws.errors import ServiceUnavailable
from modelplex.aws.signatures import Signed
from modelplex.gateway.services import Service
from modelplex.http.client import Client
from modelplex.http.errors import BadMessage, ConnectFailed, ConnectionLost
from modelplex.http.forwarding import end_to_end, passed
from modelplex.http.messages import Request, Response

log = logging.getLogger(__name__)

RESTART_WAIT_S = 5.0  # how long a call waits for a control that is being started again
_RETRY_S = 0.1
_OURS = (b"host", b"content-length", b"x-amzn-requestid", b"x-modelplex-access-key")


class Control:
    """Passes calls on to control."""

    def __init__(self, client: Client, timeout_s: float) -> None:
        """`timeout_s`: until an answer begins; longer than control holds a waiter's question."""
        self._client = client
        self._timeout_s = timeout_s

    async def forward(
        self, service: Service, request: Request, body: bytes, signed: Signed, request_id: str
    ) -> Response:
        """Control's answer; ServiceUnavailable when it cannot be had."""
        headers = [h for h in end_to_end(request.headers) if h[0] not in _OURS]
        headers.append((b"x-amzn-requestid", request_id.encode()))
        headers.append((b"x-modelplex-access-key", signed.access_key.encode()))
        if service.name == "modelplex":
            method, target = request.method, request.target
        else:
            method, target = "POST", f"/aws/{service.name}".encode()
        deadline = asyncio.get_running_loop().time() + RESTART_WAIT_S
        while True:
            try:
                answer = await self._client.request(
                    method, target, headers, body, timeout_s=self._timeout_s
                )
                return passed(answer)
            except (ConnectFailed, ConnectionLost) as error:
                untouched = isinstance(error, ConnectFailed) or error.unread
                if not untouched or asyncio.get_running_loop().time() > deadline:
                    raise _unavailable(error) from error
            except (BadMessage, TimeoutError) as error:
                raise _unavailable(error) from error
            await asyncio.sleep(_RETRY_S)


def _unavailable(error: Exception) -> ServiceUnavailable:
    log.warning("control.unreached", extra={"reason": str(error)})
    return ServiceUnavailable("The control plane does not answer. Please try again.")

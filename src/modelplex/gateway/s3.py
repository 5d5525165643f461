"""S3: a proxy to the store, streaming both ways, without a limit on sizes.

The embedded store gets requests as they are, Host and raw path untouched, since it checks their
signatures again. Another S3 gets them signed anew with its own keys.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterable
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from modelplex.aws.errors import S3NotImplemented, ServiceUnavailable
from modelplex.aws.signatures import Keys, Signed, sign
from modelplex.http.client import Client, ClientLimits, ClientResponse
from modelplex.http.errors import ConnectFailed, ConnectionLost
from modelplex.http.forwarding import end_to_end, passed
from modelplex.http.messages import Header, Request, Response, first

log = logging.getLogger(__name__)

RESTART_WAIT_S = 5.0  # how long a request waits for a store that is being started again
_RETRY_S = 0.1
_SMALL_BODY_MAX = 256 * 1024  # bytes; a body that is all here is sent in one piece
_CHECKSUM = b"x-amz-checksum-"
_LIMITS = ClientLimits(connections_max=1024, idle_timeout_s=20.0)


class Store(Protocol):
    """Where requests go, and what they look like there."""

    async def client(self) -> Client:
        """Connections to the store. ConnectFailed if its address is not known yet."""

    async def moved(self) -> None:
        """The store could not be reached: look again where it is."""

    def adapt(self, request: Request, signed: Signed) -> tuple[bytes, list[Header]]:
        """Target and headers as the store wants them."""

    async def close(self) -> None:
        """Closes all connections."""


class EmbeddedStore:
    """rclone beside us; the supervisor writes its address to a file when it starts it."""

    def __init__(self, address_file: Path) -> None:
        self._file = address_file
        self._client: Client | None = None

    async def client(self) -> Client:
        if self._client is None:
            try:
                address = json.loads(self._file.read_text())["address"]
                self._client = Client(address, _LIMITS)
            except (OSError, ValueError, KeyError) as error:
                raise ConnectFailed(f"{self._file} does not tell the store's address") from error
        return self._client

    async def moved(self) -> None:
        client, self._client = self._client, None
        if client is not None and not client.in_use:
            await client.close()

    def adapt(self, request: Request, signed: Signed) -> tuple[bytes, list[Header]]:
        return request.target, end_to_end(request.headers)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()


class ExternalStore:
    """Any other S3, by its endpoint URL, region and keys."""

    def __init__(self, endpoint: str, region: str, keys: Keys) -> None:
        parts = urlsplit(endpoint)
        scheme, port = ("tls", 443) if parts.scheme == "https" else ("tcp", 80)
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        self._endpoint = endpoint.rstrip("/")
        self._region = region
        self._keys = keys
        self._client = Client(f"{scheme}:{host}:{parts.port or port}", _LIMITS)

    async def client(self) -> Client:
        return self._client

    async def moved(self) -> None:
        """It is where its URL says."""

    def adapt(self, request: Request, signed: Signed) -> tuple[bytes, list[Header]]:
        if signed.payload_hash.startswith("STREAMING-AWS4-HMAC-SHA256"):
            raise S3NotImplemented(
                "The body is signed chunk by chunk, which cannot be signed anew for the S3 behind "
                "modelplex. Switch chunked signing off in the client (AWS SDK for Java: "
                "chunkedEncodingEnabled(false); boto3 does not use it)."
            )
        target = _unsigned(request.target) if signed.presigned else request.target
        url = self._endpoint + target.decode("latin-1")
        dropped = (b"authorization", b"host", b"x-amz-date", b"x-amz-content-sha256", b"date")
        headers = [h for h in end_to_end(request.headers) if h[0] not in dropped]
        return target, sign(
            request.method,
            url,
            headers,
            signed.payload_hash,
            self._keys,
            "s3",
            self._region,
            time.time(),
        )

    async def close(self) -> None:
        await self._client.close()


class S3:
    """Passes requests on to a store."""

    def __init__(self, store: Store, patience_s: float = RESTART_WAIT_S) -> None:
        self._store = store
        self._patience_s = patience_s

    async def proxy(self, request: Request, signed: Signed) -> Response:
        """The store's answer; ServiceUnavailable when there is no store."""
        target, headers = self._store.adapt(request, signed)
        body: bytes | AsyncIterable[bytes] = request.body
        if request.body.complete and (request.body.length or 0) <= _SMALL_BODY_MAX:
            body = await request.body.read(_SMALL_BODY_MAX)
        answer = await self._send(request.method, target, headers, body)
        response = passed(answer)
        if request.header(b"range"):
            _mark_part(response)
        return response

    async def _send(
        self,
        method: str,
        target: bytes,
        headers: list[Header],
        body: bytes | AsyncIterable[bytes],
    ) -> ClientResponse:
        """Waits for a store that cannot be reached; asks again where that changes nothing."""
        deadline = asyncio.get_running_loop().time() + self._patience_s
        while True:
            try:
                client = await self._store.client()
                return await client.request(method, target, headers, body)
            except (ConnectFailed, ConnectionLost) as error:
                again = isinstance(error, ConnectFailed) or method in ("GET", "HEAD")
                if not again or asyncio.get_running_loop().time() > deadline:
                    log.warning("s3.unreached", extra={"reason": str(error)})
                    raise ServiceUnavailable(
                        "The object store does not answer. Please try again."
                    ) from error
            await self._store.moved()
            await asyncio.sleep(_RETRY_S)

    async def close(self) -> None:
        """Closes all connections."""
        await self._store.close()


def _mark_part(response: Response) -> None:
    """Makes rclone's answer for a range a proper one.

    rclone 1.75 sends the right bytes, but as 200, and with the checksum of the whole object,
    against which boto3 then checks the part.
    """
    if response.status == 200 and first(response.headers, b"content-range"):
        response.status = 206
        response.headers = [h for h in response.headers if not h[0].startswith(_CHECKSUM)]


def _unsigned(target: bytes) -> bytes:
    """A presigned target without its signature's parameters."""
    path, _, query = target.partition(b"?")
    pairs = [pair for pair in query.split(b"&") if not _is_signature(pair)]
    return path + b"?" + b"&".join(pairs) if pairs else path


def _is_signature(pair: bytes) -> bool:
    name = pair.partition(b"=")[0].lower()
    return name in (
        b"x-amz-algorithm",
        b"x-amz-credential",
        b"x-amz-date",
        b"x-amz-expires",
        b"x-amz-signedheaders",
        b"x-amz-signature",
        b"x-amz-security-token",
    )

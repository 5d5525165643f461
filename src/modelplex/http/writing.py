"""Responses out: the server's side of writing."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterable

from modelplex.http.errors import ConnectionLost
from modelplex.http.messages import (
    Header,
    Request,
    Response,
    encode_head,
    explain,
    first,
    status_line,
)
from modelplex.http.outlet import Outlet

log = logging.getLogger(__name__)

NO_ROOM = "too many bytes of bodies are held at once (bodies_mib); try again"
_RETRY_S = b"1"  # what a client that is sent away is told to wait
BODILESS = frozenset((204, 304))
LARGE = 64 * 1024  # bytes; a longer body is written beside its head and needs room to wait in


def refusal(status: int, message: str) -> Response:
    """What a client that is refused is told; for 503 also when to come again."""
    response = explain(status, message)
    if status == 503:
        response.headers.append((b"retry-after", _RETRY_S))
    return response


async def send(outlet: Outlet, request: Request, response: Response, *, last: bool) -> bool:
    """Writes a response; True if the connection can take another request, False if `last`.

    A streamed body that fails half-way loses the connection, which is how the client learns of it.
    """
    keep = request.keep_alive and not last
    body = response.body
    if isinstance(body, (bytes, bytearray, memoryview)):
        keep = keep and request.body.complete
        headers = _with_length(request, response, len(body))
        outlet.write(_head(response, headers, keep), b"" if request.method == "HEAD" else body)
    else:
        try:
            await _send_stream(outlet, request, response, body, keep)
        finally:
            await _release(body)
        keep = keep and request.body.complete and not request.http10
    await outlet.drain()
    return keep


def _with_length(request: Request, response: Response, length: int) -> list[Header]:
    headers = response.headers
    if response.status in BODILESS:
        return headers
    if request.method == "HEAD" and first(headers, b"content-length"):
        return headers  # what GET would send
    headers = [h for h in headers if h[0] != b"content-length"]
    headers.append((b"content-length", b"%d" % length))
    return headers


async def _send_stream(
    outlet: Outlet, request: Request, response: Response, body: AsyncIterable[bytes], keep: bool
) -> None:
    headers, bodiless = response.headers, response.status in BODILESS
    length = first(headers, b"content-length")
    chunked = not (length or request.http10 or bodiless)
    if chunked:
        headers = [*headers, (b"transfer-encoding", b"chunked")]
    outlet.write(_head(response, headers, keep))
    if request.method == "HEAD" or bodiless:
        return
    try:
        await outlet.stream(body, length, chunked=chunked)
    except ConnectionLost:
        raise
    except Exception as error:
        if error is not request.body.error:
            log.exception("http.stream_failed", extra={"target": request.target})
        raise ConnectionLost("half an answer is written", sent=True) from error


def _head(response: Response, headers: list[Header], keep: bool) -> bytes:
    if not keep:
        headers = [*headers, (b"connection", b"close")]
    return encode_head(status_line(response.status, response.phrase), headers)


async def _release(body: AsyncIterable[bytes]) -> None:
    """Lets go of what a stream holds, whether or not it was read to its end."""
    for name in ("discard", "aclose"):
        if (release := getattr(body, name, None)) is not None:
            await release()

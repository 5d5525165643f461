"""Outcomes as HTTP: a handler's answer or a refusal, and the headers that every answer carries.

Bodies are JSON with two spaces and a final newline, errors `{"code", "type", "message"}`, and the
constant headers are those of Multi Model Server 1.1.11 (its NettyUtils).
"""

from __future__ import annotations

import itertools
import json
import re
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from modelplex.http.messages import Data, Header, Response, encode_headers
from modelplex.server.errors import BadRequest, Internal, ServerError
from modelplex.workers.invocations import Answer

JSON_TYPE: Header = (b"content-type", b"application/json")
_FIXED: list[Header] = [
    (b"pragma", b"no-cache"),
    (b"cache-control", b"no-cache; no-store, must-revalidate, private"),
    (b"expires", b"Thu, 01 Jan 1970 00:00:00 UTC"),
]
# What a handler may not set: ours, as Multi Model Server overwrites them, and the connection's.
_RESERVED = frozenset(name for name, _ in _FIXED) | {
    b"x-request-id",
    b"content-length",
    b"connection",
    b"keep-alive",
    b"transfer-encoding",
    b"upgrade",
}
_ID = str(uuid.uuid4())[:24].encode() + b"%012x"  # a UUID in form, counted up in its last part
# The next value of `x-request-id`: unique here, and nearly surely anywhere. Not a function of our
# own, since every request calls it.
new_request_id: Callable[[], bytes] = map(_ID.__mod__, itertools.count(1)).__next__

_BLOCKS_MAX = 1024
_BLOCK_BYTES_MAX = 2048
_BREAK = re.compile(rb"[\r\n\0]")

Wire = tuple[int, str, list[Header], Data]  # status, phrase ("": the usual one), headers, body


class Envelope:
    """The headers that every answer carries, among them those of `cors`, if any."""

    def __init__(self, cors: list[Header]) -> None:
        self._cors = frozenset(name for name, _ in cors)
        self._fixed = [*_FIXED, *cors]
        self._blocks: dict[tuple[Header, ...], bytes] = {}  # handlers mostly set the same ones

    @property
    def has_cors(self) -> bool:
        """Whether cross-origin requests are provided for."""
        return bool(self._cors)

    def headers(self, request_id: bytes, own: Sequence[Header]) -> list[Header]:
        """The headers of an answer with `own`.

        These win over those of CORS, not over others; what would break its line is left out.
        """
        kept = [h for h in own if h[0] not in _RESERVED and not _BREAK.search(b"".join(h))]
        names = {name for name, _ in kept} & self._cors
        fixed = [header for header in self._fixed if header[0] not in names]
        return [*fixed, *kept, (b"x-request-id", request_id)]

    def block(self, request_id: bytes, own: list[Header]) -> bytes:
        """The same, encoded: `name: value` lines with their line ends."""
        key = tuple(own)
        start = self._blocks.get(key) or self._encode(key)
        return start + request_id + b"\r\n"

    def _encode(self, own: tuple[Header, ...]) -> bytes:
        """All up to the value of the last header, remembered if it is small."""
        block = encode_headers(self.headers(b"", own)).removesuffix(b"\r\n")
        if len(block) <= _BLOCK_BYTES_MAX:
            if len(self._blocks) >= _BLOCKS_MAX:
                self._blocks.clear()
            self._blocks[own] = block
        return block


def wire(outcome: Answer | ServerError) -> Wire:
    """An outcome of a prediction as status, phrase, headers and body."""
    if isinstance(outcome, ServerError):
        return outcome.status, "", [JSON_TYPE], error_body(outcome)
    if outcome.failure:
        return _failed(outcome)
    return outcome.status, outcome.phrase, outcome.headers, outcome.body


def error_body(error: ServerError, status: int = 0) -> bytes:
    """The JSON of a refusal; `status`: another than the error's own."""
    code = status or error.status
    return json_body({"code": code, "type": error.type, "message": error.message})


def json_body(document: Any) -> bytes:
    """A document as Multi Model Server prints it."""
    return json.dumps(document, indent=2, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def json_response(status: int, document: Any, phrase: str = "") -> Response:
    """An answer of the server itself."""
    return Response(status, [JSON_TYPE], json_body(document), phrase)


def _failed(answer: Answer) -> Wire:
    """What a worker reports about itself or its handler: the body is the message."""
    text = bytes(answer.body).decode("utf-8", "replace")
    status = answer.status
    error: ServerError
    match answer.failure:
        case "raised":
            status, error = 503, Internal(f"Prediction failed: {text}")
        case "memory":
            status, error = 507, Internal("Out of resources")
        case "input":
            status, error = 400, BadRequest(text)
        case _:  # "prediction" with the handler's own status, "invalid" with the worker's
            error = Internal(text)
    return status, "", [JSON_TYPE], error_body(error, status)

"""What goes to a handler and what comes back, and how both are put into frames."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple, cast

from modelplex.runtime import frames
from modelplex.runtime.arena import Arena
from modelplex.workers.errors import WorkerDied

Header = tuple[bytes, bytes]
Data = bytes | bytearray | memoryview


class Invocation(NamedTuple):  # as Answer, made once a request: cheaper than a dataclass
    """A request for a handler: headers with lower-case names (or what `pack` makes of them), the
    body, the raw query string without "?", and the id that the handler sees (a number if empty)."""

    headers: list[Header] | bytes
    body: Data
    query: bytes = b""
    request_id: bytes = b""


class Answer(NamedTuple):
    """What a handler answered, or, where there is a `failure`, a text that says what failed.

    `failure`: "raised" (by the handler), "memory", "prediction" (a PredictionException), "invalid"
    (what it returned cannot be sent) or "input" (the request is malformed).
    """

    status: int
    phrase: str
    headers: list[Header]
    body: bytes | bytearray
    failure: str = ""


def pack(headers: list[Header]) -> bytes:
    """Headers as they go into a frame. Raises ValueError."""
    packed = b"".join([b"\0%b\0%b" % header for header in headers])
    if packed.count(0) != 2 * len(headers):
        raise ValueError("a request's headers hold a NUL")
    return packed


def encode(
    number: int, batch: Sequence[Invocation], body_bytes_max: int, arena: Arena | None = None
) -> list[frames.Data]:
    """The buffers of a batch; large bodies are left in the arena.

    Raises ValueError when it has too many requests, headers or bytes.
    """
    left = len(batch)
    parts: list[frames.Data] = []
    for headers, body, query, request_id in batch:
        left -= 1
        check(body, body_bytes_max)
        packed = headers if type(headers) is bytes else pack(cast(list[Header], headers))
        if 0 in query or 0 in request_id:
            raise ValueError("a request's query or id holds a NUL")
        meta = b"%b\0%b%b" % (query, request_id, packed)
        parts += frames.encode(frames.INVOKE, number, meta, body, left, arena)
    return parts


def check(body: Data, body_bytes_max: int) -> None:
    """Raises ValueError for a body above the limit."""
    if len(body) > body_bytes_max:
        raise ValueError(f"the request has {len(body)} bytes; at most {body_bytes_max} are allowed")


def decode(frame: frames.Frame) -> Answer:
    """A worker's answer. No meta stands for 200 without headers."""
    if not frame.meta:
        return frames.new(Answer, (200, "", [], frame.body, ""))
    status, phrase, failure, *pairs = bytes(frame.meta).split(b"\0")
    headers = list(zip(pairs[::2], pairs[1::2], strict=True))
    return Answer(int(status), phrase.decode("utf-8"), headers, frame.body, failure.decode("ascii"))


def settle(call: asyncio.Future[Answer], outcome: list[Answer] | WorkerDied) -> None:
    """Give one request's answer, or its worker's death, to who awaits it, if anybody does."""
    if call.done():
        return
    if isinstance(outcome, WorkerDied):
        call.set_exception(outcome)
    else:
        call.set_result(outcome[0])

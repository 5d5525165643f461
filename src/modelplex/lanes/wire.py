"""What is in the frames of a lane: kind, number, the 16 bits that frames have to spare, meta, body.

gateway -> instance:
    ASK             -        MODEL \\0 REQUEST-ID [\\0 NAME \\0 VALUE]...     the request's body
    LEAVE           the client has gone
instance -> gateway:
    WAITING, BEGUN  the request waits for its model; its handler begins
    ANSWER          status   what the instance tells, the header lines      the answer's body
    UNREADY         -        why: nothing was begun
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from modelplex.runtime import frames
from modelplex.runtime.arena import Arena
from modelplex.runtime.frames import Data

ASK, LEAVE, WAITING, BEGUN, ANSWER, UNREADY = range(48, 54)
NUMBERS = 0xFFFFFFFF  # of requests; they begin again at 1
# Requests under way on a lane, up to which a frame is sent at once: the other side has nothing else
# to do. With more, those of a turn of the event loop go together.
FEW = 16

# How a model was found; "": it did not run, or that is not known.
STARTS = ("", "warm", "disk", "cold")
_START_CODES = {name: code for code, name in enumerate(STARTS)}
_TOLD = struct.Struct("!Bfff")
_TOLD_BYTES = _TOLD.size


class Ask(NamedTuple):
    """One request as an instance reads it. `packed`: its headers as `workers` packs them."""

    model: bytes  # b"": the only one
    request_id: bytes
    packed: bytes


class Told(NamedTuple):
    """What an instance says beside an answer."""

    start: str  # one of STARTS
    handle_s: float  # spent in the handler
    load: float  # of the instance,
    erlangs: float  # and of the model there: see `core/routing/tally.py`


class Answer(NamedTuple):
    """An instance's answer, ready for the client: `head` holds whole header lines."""

    status: int
    told: Told
    head: bytes
    body: Data


NOTHING_TOLD = Told("", 0.0, 0.0, 0.0)


def encode_ask(number: int, ask: Ask, body: Data, arena: Arena | None = None) -> list[Data]:
    """The buffers of a request. Raises FrameError for too many bytes of headers."""
    return frames.encode(ASK, number, b"%b\0%b%b" % ask, body, 0, arena)


def decode_ask(meta: Data) -> Ask:
    """A request's head. Raises FrameError."""
    model, _, rest = bytes(meta).partition(b"\0")
    request_id, gap, packed = rest.partition(b"\0")
    return Ask(model, request_id, gap + packed)


def encode_answer(number: int, answer: Answer, arena: Arena | None = None) -> list[Data]:
    """The buffers of an answer. Raises FrameError for too many bytes of headers."""
    status, (start, handle_s, load, erlangs), head, body = answer
    meta = _TOLD.pack(_START_CODES[start], handle_s, load, erlangs) + head
    return frames.encode(ANSWER, number, meta, body, status, arena)


def decode_answer(frame: frames.Frame) -> Answer:
    """An answer. Raises FrameError."""
    _, status, _, meta, body = frame
    try:
        code, handle_s, load, erlangs = _TOLD.unpack_from(meta)
        told = frames.new(Told, (STARTS[code], handle_s, load, erlangs))
    except (struct.error, IndexError) as error:
        raise frames.FrameError(f"an answer that cannot be read: {error}") from None
    return frames.new(Answer, (status, told, bytes(meta[_TOLD_BYTES:]), body))


def unpack(packed: bytes) -> list[tuple[bytes, bytes]]:
    """The headers of a request."""
    pairs = packed.split(b"\0")[1:]
    return list(zip(pairs[::2], pairs[1::2], strict=True))


def path_beside(socket: str) -> str:
    """Where an instance lands lanes, by the path of its socket for HTTP."""
    return f"{socket.removesuffix('.sock')}.lane"

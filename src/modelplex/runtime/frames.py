"""The frames that host, zygote and workers exchange over socketpairs.

A frame is a kind, a number, what describes its body (`meta`), and a body of bytes:

    kind u8 | shared u8 | left u16 | request u32 | meta bytes u32 | body bytes u32 | meta | body

All integers are big-endian. `left` is the number of frames that follow and belong to the same
batch. In a worker that holds many models the upper half of `request` is the model's number. Orders
and reports have a JSON object as meta; the meta of a request and of an answer is a list of texts
joined by NUL (`inputs.py`, `answers.py`), which is read only where it is needed. A large body is
received straight into its own bytearray; where both sides have an arena (`arena.py`) it lies there,
`shared` is 1, and the frame's body is a pointer.
"""

from __future__ import annotations

import json
import struct
from typing import Any, NamedTuple, Union

from modelplex.runtime.arena import Arena, ArenaError

# Host to zygote, and back; a template takes FORK and REAP too.
START, READY, START_FAILED, FORK, FORKED, FORK_FAILED, REAP, REAPED = range(1, 9)
# Host to worker, and back.
LOAD, LOADED, LOAD_FAILED, INVOKE, ANSWER = range(16, 21)
# Host to a worker that holds many models; it answers all that it is asked with an ANSWER.
SHARE, UNLOAD = range(21, 23)
# Host to a process that prepares an artifact and ends: PREPARE -> LOADED | LOAD_FAILED.
PREPARE = 23
# Asks for an arena, between any two frames; the same back, with a descriptor if there is one.
SHARE_MEMORY = 24

META_BYTES_MAX = 1024 * 1024  # of one frame; more: FrameError
BATCH_MAX = 0xFFFF  # frames of a batch; more: FrameError
EXIT_OUT_OF_MEMORY = 97  # exit code of a worker that had no memory left to say so in a frame

_HEADER = struct.Struct("!BBHIII")
_HEADER_BYTES = _HEADER.size
JOIN_BYTES_MAX = 16 * 1024  # up to that a body is copied behind the header; larger: an arena's
_SCRATCH_BYTES = 8 * 1024  # what is read at once while the next frame's size is unknown

Data = Union[bytes, bytearray, memoryview]
new = tuple.__new__  # makes a NamedTuple, several times faster than calling its class


class FrameError(ValueError):
    """A frame that is too large, or bytes that are no frame: the connection is of no more use."""


class Frame(NamedTuple):
    """One message; `request` ties an answer to its question."""

    kind: int
    left: int
    request: int
    meta: bytearray
    body: bytearray

    def values(self) -> dict[str, Any]:
        """The meta of an order or report. Raises ValueError."""
        values: dict[str, Any] = json.loads(self.meta)
        return values


def encode(  # noqa: PLR0917  named arguments would cost a tenth of it
    kind: int,
    request: int,
    meta: Data = b"",
    body: Data = b"",
    left: int = 0,
    arena: Arena | None = None,
) -> list[Data]:
    """The buffers of one frame, to be written in this order. Raises FrameError.

    `arena`: where a large body is left if there is room; the other side must know it.
    """
    meta_bytes, body_bytes = len(meta), len(body)
    if meta_bytes > META_BYTES_MAX or body_bytes > 0xFFFFFFFF or left > BATCH_MAX:
        raise FrameError(f"{meta_bytes} bytes of headers or {left} requests are too many to send")
    if body_bytes <= JOIN_BYTES_MAX:
        head = _HEADER.pack(kind, 0, left, request, meta_bytes, body_bytes)
        return [b"".join((head, meta, body))]
    pointer = arena.put(body) if arena is not None else None
    if pointer is not None:
        head = _HEADER.pack(kind, 1, left, request, meta_bytes, len(pointer))
        return [b"".join((head, meta, pointer))]
    return [_HEADER.pack(kind, 0, left, request, meta_bytes, body_bytes) + meta, body]


def order(kind: int, request: int = 0, body: Data = b"", **values: Any) -> list[Data]:
    """The buffers of an order or report. Raises FrameError."""
    return encode(kind, request, json.dumps(values).encode("ascii"), body)


class Pointer(bytearray):
    """Stands for a body that lies in the arena."""


class Decoder:
    """Turns received bytes into frames. The caller reads into `view` and says how much.

    `in_body`: the view is the rest of a body, which should be filled whole.
    """

    def __init__(self, body_bytes_max: int, late: bool = False) -> None:
        """`late`: of several frames at once, bodies in the arena are left there for `whole`."""
        self._late = late
        self._body_bytes_max = body_bytes_max
        self._scratch = bytearray(_SCRATCH_BYTES)
        self._whole = memoryview(self._scratch)
        self._filled = 0
        self._pending: Frame  # its body is still arriving, while `in_body`
        self.view = self._whole  # never empty
        self.in_body = False
        self.arena: Arena | None = None

    def close(self) -> None:
        """Nothing more will be read: gives back its memory, though others may still know it."""
        self._scratch = bytearray()
        self.view = self._whole = memoryview(self._scratch)

    def received(self, count: int) -> list[Frame]:
        """The frames that `count` more bytes in `view` complete. Raises FrameError."""
        if self.in_body:
            return self._received_body(count)
        scratch = self._scratch
        self._filled = filled = self._filled + count
        if filled >= _HEADER_BYTES:  # most often what has come is one whole frame
            kind, shared, left, request, meta_bytes, body_bytes = _HEADER.unpack_from(scratch)
            body_at = _HEADER_BYTES + meta_bytes
            if body_at + body_bytes == filled and body_bytes <= self._body_bytes_max:
                self._filled = 0
                self.view = self._whole
                meta, body = scratch[_HEADER_BYTES:body_at], scratch[body_at:filled]
                if shared:
                    body = self._fetch(body)
                return [new(Frame, (kind, left, request, meta, body))]
        return self._received_some()

    def _received_some(self) -> list[Frame]:
        """Any number of frames, and perhaps the beginning of another one."""
        frames: list[Frame] = []
        at = self._take_whole(frames)
        if len(frames) == 1:
            frames[0] = self.whole(frames[0])
        if self._begin(at):
            self._filled = 0
            return frames
        self._scratch[: self._filled - at] = self._scratch[at : self._filled]
        self._filled -= at
        self.view = self._whole[self._filled :]
        return frames

    def _received_body(self, count: int) -> list[Frame]:
        if count < len(self.view):
            self.view = self.view[count:]
            return []
        self.in_body = False
        self.view = self._whole
        return [self._pending]

    def _take_whole(self, frames: list[Frame]) -> int:
        """Takes the frames that have come whole; returns where the next one begins."""
        filled, scratch, body_bytes_max = self._filled, self._scratch, self._body_bytes_max
        at, start = 0, _HEADER_BYTES
        while start <= filled:
            kind, shared, left, request, meta_bytes, body_bytes = _HEADER.unpack_from(scratch, at)
            body_at = start + meta_bytes
            end = body_at + body_bytes
            if end > filled or body_bytes > body_bytes_max:
                return at
            body = scratch[body_at:end]
            if shared:
                body = Pointer(body) if self._late else self._fetch(body)
            frames.append(new(Frame, (kind, left, request, scratch[start:body_at], body)))
            at, start = end, end + _HEADER_BYTES
        return at

    def _begin(self, at: int) -> bool:
        """Looks at the beginning of a frame; true if the rest of its body is to come by itself."""
        filled, scratch = self._filled, self._scratch
        start = at + _HEADER_BYTES
        if filled < start:
            return False
        kind, shared, left, request, meta_bytes, body_bytes = _HEADER.unpack_from(scratch, at)
        if meta_bytes > META_BYTES_MAX or body_bytes > self._body_bytes_max:
            raise FrameError(f"a frame of {meta_bytes} + {body_bytes} bytes is too large")
        body_at = start + meta_bytes
        if filled < body_at or shared:
            self._make_room(body_at - at + (body_bytes if shared else 0))
            return False
        frame = Frame(kind, left, request, scratch[start:body_at], scratch[body_at:filled])
        self._wait_for_body(frame, body_bytes)
        return True

    def whole(self, frame: Frame) -> Frame:
        """With its body, which may still lie in the arena. Raises FrameError."""
        body = frame.body
        return frame._replace(body=self._fetch(body)) if type(body) is Pointer else frame

    def _fetch(self, pointer: bytearray) -> bytearray:
        if self.arena is None:
            raise FrameError("a body is said to lie in shared memory, but there is none")
        try:
            return self.arena.get(pointer, self._body_bytes_max)
        except ArenaError as error:
            raise FrameError(str(error)) from None

    def _wait_for_body(self, frame: Frame, size: int) -> None:
        body = bytearray(size)
        arrived = len(frame.body)
        body[:arrived] = frame.body
        self._pending = frame._replace(body=body)
        self.view = memoryview(body)[arrived:]
        self.in_body = True

    def _make_room(self, size: int) -> None:
        # Grown in a new object: the reader may still hold a view of the old one.
        if size > len(self._scratch):
            self._scratch = self._scratch + bytes(size - len(self._scratch) + _HEADER_BYTES)
            self._whole = memoryview(self._scratch)

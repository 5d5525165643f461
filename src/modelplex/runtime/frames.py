"""The frames that host, zygote and workers exchange over socketpairs.

A frame is a kind, a number, a list of (key, value) texts and a body of bytes:

    kind u8 | 0 u8 | pairs u16 | request u32 | meta bytes u32 | body bytes u32 | meta | body

with meta = sizes u32... | texts, where sizes are the lengths of the texts: key, value, key, value.
All integers are big-endian. A large body is received straight into its own bytearray.
"""

from __future__ import annotations

import struct
from typing import Iterable, NamedTuple

# Host to zygote, and back.
START, READY, START_FAILED, FORK, FORKED, FORK_FAILED, REAP, REAPED = range(1, 9)
# Host to worker, and back.
LOAD, LOADED, LOAD_FAILED, INVOKE, ANSWER = range(16, 21)

META_BYTES_MAX = 1024 * 1024  # all texts of one frame with their sizes; more: FrameError
PAIRS_MAX = 0xFFFF
EXIT_OUT_OF_MEMORY = 97  # exit code of a worker that had no memory left to say so in a frame

_HEADER = struct.Struct("!BxHIII")
_JOIN_BYTES_MAX = 64 * 1024  # smaller bodies are copied behind the header: one buffer, one write
_SCRATCH_BYTES = 8 * 1024  # what is read at once while the next frame's size is unknown

Meta = Iterable["tuple[str, str]"]


class FrameError(ValueError):
    """A frame that is too large, or bytes that are no frame: the connection is of no more use."""


class Frame(NamedTuple):
    """One message; `request` ties an answer to its question."""

    kind: int
    request: int
    meta: list[tuple[str, str]]
    body: bytearray


def encode(
    kind: int, request: int = 0, meta: Meta = (), body: bytes | bytearray = b""
) -> list[bytes | bytearray]:
    """The buffers of one frame, to be written in this order. Texts that are not valid Unicode are
    escaped rather than refused, since they come from handlers. Raises FrameError."""
    texts = [text.encode("utf-8", "backslashreplace") for pair in meta for text in pair]
    packed = struct.pack("!%dI" % len(texts), *map(len, texts)) + b"".join(texts)
    if len(packed) > META_BYTES_MAX or len(texts) > 2 * PAIRS_MAX or len(body) > 0xFFFFFFFF:
        raise FrameError(f"{len(texts) // 2} headers of {len(packed)} bytes are too many to send")
    head = _HEADER.pack(kind, len(texts) // 2, request, len(packed), len(body)) + packed
    return [head + body] if len(body) <= _JOIN_BYTES_MAX else [head, body]


class Decoder:
    """Turns received bytes into frames. The caller reads into `buffer()` and says how much."""

    def __init__(self, body_bytes_max: int) -> None:
        self._body_bytes_max = body_bytes_max
        self._scratch = bytearray(_SCRATCH_BYTES)
        self._filled = 0
        self._pending: Frame | None = None  # its body is still arriving
        self._arrived = 0  # bytes of that body

    def buffer(self) -> memoryview:
        """Where the next bytes belong; never empty."""
        if self._pending is not None:
            return memoryview(self._pending.body)[self._arrived :]
        return memoryview(self._scratch)[self._filled :]

    def received(self, count: int) -> list[Frame]:
        """The frames that `count` more bytes in `buffer()` complete. Raises FrameError."""
        if self._pending is not None:
            return self._received_body(self._pending, count)
        self._filled += count
        frames: list[Frame] = []
        at = 0
        while self._pending is None:
            end = self._parse(at, frames)
            if end == at:
                break
            at = end
        self._scratch[: self._filled - at] = self._scratch[at : self._filled]
        self._filled -= at
        return frames

    def _received_body(self, frame: Frame, count: int) -> list[Frame]:
        self._arrived += count
        if self._arrived < len(frame.body):
            return []
        self._pending = None
        return [frame]

    def _parse(self, at: int, frames: list[Frame]) -> int:
        """Takes one frame from the scratch at `at`; returns where the next one begins, or `at`."""
        start = at + _HEADER.size
        if self._filled < start:
            return at
        kind, pairs, request, meta_bytes, body_bytes = _HEADER.unpack_from(self._scratch, at)
        if meta_bytes > META_BYTES_MAX or body_bytes > self._body_bytes_max:
            raise FrameError(f"a frame of {meta_bytes} + {body_bytes} bytes is too large")
        body_at = start + meta_bytes
        if self._filled < body_at:
            self._make_room(body_at - at)
            return at
        meta = _unpack(pairs, bytes(self._scratch[start:body_at]))
        end: int = min(body_at + body_bytes, self._filled)
        frame = Frame(kind, request, meta, self._scratch[body_at:end])
        if end < body_at + body_bytes:
            self._wait_for_body(frame, body_bytes)
        else:
            frames.append(frame)
        return end

    def _make_room(self, size: int) -> None:
        # Grown in a new object: the reader may still hold a view of the old one.
        if size > len(self._scratch):
            self._scratch = self._scratch + bytes(size - len(self._scratch) + _HEADER.size)

    def _wait_for_body(self, frame: Frame, size: int) -> None:
        body = bytearray(size)
        self._arrived = len(frame.body)
        body[: self._arrived] = frame.body
        self._pending = frame._replace(body=body)


def _unpack(pairs: int, packed: bytes) -> list[tuple[str, str]]:
    at = 8 * pairs
    if at > len(packed):
        raise FrameError(f"{pairs} pairs do not fit into {len(packed)} bytes")
    sizes = struct.unpack_from("!%dI" % (2 * pairs), packed)
    if at + sum(sizes) != len(packed):
        raise FrameError(f"the sizes of {pairs} pairs do not add up to {len(packed)} bytes")
    texts = []
    for size in sizes:
        texts.append(str(packed[at : at + size], "utf-8", "replace"))
        at += size
    return [(texts[i], texts[i + 1]) for i in range(0, len(texts), 2)]

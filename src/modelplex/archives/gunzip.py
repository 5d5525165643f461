"""The unpacked bytes of a gzip stream, read forwards only and never more than a piece at a time.

It is the file object that `unpack.py` hands to `tarfile`, and the place where everything that can
be wrong with the stream itself is found: truncation, a bad checksum, garbage, a bomb.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from modelplex.archives.inflate import InflateError, inflate
from modelplex.archives.tree import Refused, bomb

MAGIC = b"\x1f\x8b"
PIECE_BYTES = 256 * 1024  # unpacked at a time, and so held in memory


@dataclass(slots=True)
class Times:
    """Seconds that an unpacking spent waiting for bytes to arrive, and in inflate."""

    arrive_s: float = 0.0
    inflate_s: float = 0.0


class Gunzip:
    """A readable, forward-only file over the chunks of a gzip stream of one or more members.

    `unpacked_max` is the number of unpacked bytes at which the stream counts as a bomb, and
    `headers_max` the number that may be read between two calls of `next_entry`, so that an archive
    whose metadata never ends is not collected in memory.
    """

    def __init__(self, chunks: Iterable[bytes], unpacked_max: int, headers_max: int) -> None:
        self._chunks: Iterator[bytes] = iter(chunks)
        self._inflate = inflate()
        self._piece = memoryview(b"")
        self._maybe_more = False  # inflate may hold output back although it took all the input
        self._started = False
        self._unpacked_max = unpacked_max
        self._unpacked = 0
        self._headers_max = headers_max
        self._headers = 0
        self._position = 0
        self.last_read = b""
        self.times = Times()

    # -- what tarfile asks of a file ----------------------------------------------------------

    def tell(self) -> int:
        """Unpacked bytes read so far."""
        return self._position

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes of metadata, fewer only at the end of the stream."""
        self._headers += max(0, size)  # a hostile header may say less than nothing
        if self._headers > self._headers_max:
            raise Refused(f"the metadata of one entry is longer than {self._headers_max} bytes")
        self.last_read = b"".join(self.pieces(size))
        return self.last_read

    def seek(self, position: int) -> int:
        """Skip forwards to `position`."""
        if position < self._position:
            raise Refused("its entries are not in a row")
        for _ in self.pieces(position - self._position):
            pass
        return self._position

    # -- what unpack asks of it ---------------------------------------------------------------

    def next_entry(self) -> None:
        """A new entry begins: its metadata is counted from zero."""
        self._headers = 0

    def pieces(self, size: int) -> Iterator[memoryview]:
        """The next `size` bytes piece by piece; fewer only at the end of the stream."""
        while size > 0:
            if not self._piece and not self._refill():
                return
            piece, self._piece = self._piece[:size], self._piece[size:]
            size -= len(piece)
            self._position += len(piece)
            yield piece

    def expect_padding(self) -> None:
        """Read the rest, which must be zeros: what follows the end of a tar archive."""
        while self._piece or self._refill():
            if bytes(self._piece).strip(b"\0"):
                raise Refused("other data follows the end of its tar archive")
            self._position += len(self._piece)
            self._piece = memoryview(b"")

    def _refill(self) -> bool:
        """Unpack the next piece; False when the stream has ended, checksum and all."""
        while not self._piece:
            if self._inflate.eof and not self._next_member():
                return False
            self._piece = memoryview(self._unpack())
        self._unpacked += len(self._piece)
        if self._unpacked > self._unpacked_max:
            raise bomb(self._unpacked_max)
        return True

    def _unpack(self) -> bytes:
        data = self._inflate.unconsumed_tail
        if not data and not self._maybe_more:
            data = self._next_chunk()
        began = time.perf_counter()
        try:
            piece: bytes = self._inflate.decompress(data, PIECE_BYTES)
        except InflateError as error:
            raise Refused(f"its gzip stream is damaged ({error})") from None
        self.times.inflate_s += time.perf_counter() - began
        self._maybe_more = len(piece) == PIECE_BYTES
        return piece

    def _next_chunk(self) -> bytes:
        if chunk := self._next_or_empty():
            if not self._started and not chunk.startswith(MAGIC[: len(chunk)]):
                raise Refused("it is not a gzip file")
            self._started = True
            return chunk
        if not self._started:
            raise Refused("it is an empty file")
        raise Refused("it is truncated: its gzip stream does not end")

    def _next_or_empty(self) -> bytes:
        """The next chunk that is not empty; b"" at the end."""
        began = time.perf_counter()
        chunk = next((bytes(chunk) for chunk in self._chunks if chunk), b"")
        self.times.arrive_s += time.perf_counter() - began
        return chunk

    def _next_member(self) -> bool:
        """Whether another gzip member follows the one that ended; zeros between are padding."""
        rest = self._inflate.unused_data.lstrip(b"\0")
        while len(rest) < len(MAGIC):
            if not (chunk := self._next_or_empty()):
                break
            rest = (rest + chunk).lstrip(b"\0")
        if not rest:
            return False
        if not rest.startswith(MAGIC):
            raise Refused("garbage follows the end of its gzip stream")
        self._inflate = inflate()
        self._maybe_more = False
        self._chunks = _chain(rest, self._chunks)
        return True


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest

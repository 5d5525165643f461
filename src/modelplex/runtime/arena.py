"""Memory that the two ends of a socket share, for the large bodies of the frames between them.

A body is copied once into the arena and once out of it, with no system call and no new page, where
a socket copies it twice through pages of the kernel and wakes both sides many times. In the frame
stands a pointer instead. An arena has two rings: its **asker** (a worker's host, or a gateway)
writes into the first, its **giver** (the worker, or the instance), who has made it, into the
second. Each ring is read in the order in which it was written, and its reader says in a word of
shared memory how far it has come. What finds no room goes through the socket, as small bodies do.

Neither side trusts the other: the file cannot be made smaller (that would be a SIGBUS for who reads
it), pointers are checked, and what is read is a copy. Whoever writes what is not his turn to write
spoils only bodies that are his own anyway, since an arena is never shared by more than two.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from typing import Callable, Union

RING_BYTES = 8 * 1024 * 1024  # of bodies in one direction; what has no room takes the socket

_CONTROL_BYTES = mmap.PAGESIZE  # before the rings: how far each was read
_BYTES = _CONTROL_BYTES + 2 * RING_BYTES
# As in Linux's fcntl.h: a Python that was built with an old C library does not know them.
_ADD_SEALS, _GET_SEALS = 1033, 1034
_SEALS = 0x1 | 0x2 | 0x4  # no further seals, no shrinking, no growing
_POINTER = struct.Struct("!QI")
_WORD_APART = 8  # in words of 8 bytes: each side writes to a cache line of its own
_WORD_MAX = 2**63

Bytes = Union[bytes, bytearray, memoryview]


class ArenaError(ValueError):
    """A file that is no arena, or a pointer to where nothing can be."""


def make() -> int:
    """The descriptor of a new arena, empty and of a size that is final. Raises OSError."""
    if not hasattr(os, "memfd_create"):
        raise OSError("this Python has no memfd_create")
    with open("/proc/sys/vm/overcommit_memory", encoding="ascii") as file:
        if file.read().strip() == "2":  # a page that cannot be had would be a SIGBUS
            raise OSError("the kernel counts memory strictly")
    descriptor = os.memfd_create("arena", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, _BYTES)
        fcntl.fcntl(descriptor, _ADD_SEALS, _SEALS)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _check(descriptor: int) -> None:
    """Raises ArenaError unless the other side's file is one that cannot surprise us.

    The block size of memory that comes in huge pages is theirs: such a file may have none left.
    """
    try:
        seals = fcntl.fcntl(descriptor, _GET_SEALS)
        facts = os.fstat(descriptor)
    except OSError as error:
        raise ArenaError(f"what should be an arena cannot be sealed: {error}") from error
    if seals & _SEALS != _SEALS or facts.st_size != _BYTES or facts.st_blksize != mmap.PAGESIZE:
        text = f"{facts.st_size} bytes in blocks of {facts.st_blksize}, with seals {seals:#x}"
        raise ArenaError(f"what should be an arena has {text}")


def _next_lap(position: int) -> int:
    """Where the ring's memory next begins, at or after this position."""
    return -(-position // RING_BYTES) * RING_BYTES


class Arena:
    """One side's view. `asker`: this is the side that has asked for it."""

    def __init__(
        self, descriptor: int, asker: bool, on_use: Callable[[], None] | None = None
    ) -> None:
        """Maps the file; the descriptor stays the caller's. `on_use` is called before a body is
        written or read, the first time and after each `rested`. Raises ArenaError, OSError."""
        _check(descriptor)
        self._map = mmap.mmap(descriptor, _BYTES)
        whole = memoryview(self._map)
        first = whole[_CONTROL_BYTES : _CONTROL_BYTES + RING_BYTES]
        second = whole[_CONTROL_BYTES + RING_BYTES :]
        self._words = whole[:_CONTROL_BYTES].cast("Q")
        self._out, self._in = (first, second) if asker else (second, first)
        self._theirs, self._ours = (0, _WORD_APART) if asker else (_WORD_APART, 0)
        self._views = [whole, first, second, self._words]
        self._written = 0  # bytes ever, and those left out at the end of a lap
        self._last = 0  # where the body that was written last ends
        self._read = 0  # of what we have written, the other side: what it said last
        self._on_use = on_use
        self._used = on_use is None

    def put(self, body: Bytes) -> bytes | None:
        """Writes a body; the pointer to it, None if there is no room. The frames must be sent in
        the order of these calls."""
        size = len(body)
        start = self._room(size)
        if start < 0:
            return None
        if not self._used:
            self._use()
        at = start % RING_BYTES
        self._out[at : at + size] = body
        self._written = self._last = start + size
        return _POINTER.pack(start, size)

    def get(self, pointer: Bytes, bytes_max: int) -> bytearray:
        """Reads the body that the other side has put there. Raises ArenaError."""
        if len(pointer) != _POINTER.size:
            raise ArenaError(f"a pointer into an arena has {len(pointer)} bytes")
        start, size = _POINTER.unpack(pointer)
        at = start % RING_BYTES
        if size > bytes_max or at + size > RING_BYTES or start >= _WORD_MAX:
            raise ArenaError(f"{size} bytes at {start} of an arena cannot be; {bytes_max} may")
        if not self._used:
            self._use()
        body = bytearray(self._in[at : at + size])
        self._words[self._ours] = start + size
        return body

    @property
    def all_read(self) -> bool:
        """Whether the other side has read all that was written here."""
        return self._words[self._theirs] == self._last

    def rested(self) -> None:
        """From now on `on_use` is called again."""
        self._used = False

    def empty(self) -> None:
        """Gives the memory of both rings back to the machine. To be called by the asker, while no
        body is on its way in either direction."""
        self._map.madvise(mmap.MADV_REMOVE, _CONTROL_BYTES, 2 * RING_BYTES)

    def close(self) -> None:
        """Unmaps it. The memory is free when the other side does so too, or ends."""
        for view in reversed(self._views):
            view.release()
        self._map.close()

    def _room(self, size: int) -> int:
        """Where `size` bytes can be written, counted from the beginning of all; -1 if nowhere."""
        read = self._words[self._theirs]
        if self._read < read <= self._written:  # else it has not moved, or is a lie
            self._read = read
        if self._read == self._written:
            self._read = self._written = _next_lap(self._written)
        start, lap = self._written, _next_lap(self._written)
        if lap + size - self._read <= RING_BYTES or start + size > lap > start:
            start = lap  # its beginning has been read: in a cache rather than in fresh pages
        return start if start + size - self._read <= RING_BYTES else -1

    def _use(self) -> None:
        self._used = True
        if self._on_use is not None:
            self._on_use()


def offer() -> tuple[Arena | None, list[int]]:
    """The giver's view of a new arena, and the descriptor to be sent and closed; none of both where
    there can be none."""
    try:
        descriptor = make()
    except OSError:
        return None, []
    try:
        return Arena(descriptor, asker=False), [descriptor]
    except (ArenaError, OSError):
        os.close(descriptor)
        return None, []

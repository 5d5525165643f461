"""What becomes of memory that a process of requests is done with: the allocator's and Python's."""

from __future__ import annotations

import ctypes
import gc

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # mallopt(3) of glibc
KEPT_BYTES = 64 * 1024 * 1024  # of free memory at the heap's end; more is given back
MAPPED_BYTES = 32 * 1024 * 1024  # the largest threshold there is; a larger body is mapped alone

# Objects between two collections, and how many of those a thorough one takes: requests make few
# cycles, and what workers and connections leave behind is not small.
GARBAGE = 10_000, 3, 2


def collect_rarely() -> None:
    """Once all is imported: that stays, no collection has to look at it, and there are few."""
    gc.freeze()
    gc.set_threshold(*GARBAGE)


def keep_freed() -> None:
    """Have this process keep some of what it frees, for the next body.

    By default a large body's memory goes back to the kernel at once when it is the last of the
    heap, as it is when requests come one after the other; and each page of the next body is a fault
    and 4 KB of zeros: more CPU time than all the rest of the request. Without effect where the C
    library is another.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # musl has none
        return
    mallopt(_M_MMAP_THRESHOLD, MAPPED_BYTES)
    mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)

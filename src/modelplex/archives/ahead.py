"""Reads a stream ahead of its use, in a thread of its own: bytes arrive while others are unpacked.

What is small is read by who uses it: a thread would cost more than it gains.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Generator, Iterator
from queue import Empty, Queue

DIRECT_BYTES = 1024 * 1024  # read without a thread
CHUNKS_MAX = 16  # read and not used yet, beside the one in each hand

_Waiting = Queue[bytes | BaseException | None]  # None: the end


def ahead(chunks: Iterator[bytes]) -> Generator[bytes, None, None]:
    """The same chunks, and in the end the same error.

    When this generator has ended or is closed, nobody reads `chunks` any more; that may wait for
    the one that is being read.
    """
    direct = 0
    for chunk in chunks:
        yield chunk
        direct += len(chunk)
        if direct >= DIRECT_BYTES:
            break
    else:
        return
    yield from _by_thread(chunks)


def _by_thread(chunks: Iterator[bytes]) -> Generator[bytes, None, None]:
    waiting: _Waiting = Queue(CHUNKS_MAX)
    left = threading.Event()
    reader = threading.Thread(target=_read, args=(chunks, waiting, left), name="ahead", daemon=True)
    reader.start()
    try:
        while (item := waiting.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        left.set()
        with contextlib.suppress(Empty):  # so that the reader finds room for its last two
            while True:
                waiting.get_nowait()
        reader.join()


def _read(chunks: Iterator[bytes], waiting: _Waiting, left: threading.Event) -> None:
    end: BaseException | None = None
    try:
        for chunk in chunks:
            waiting.put(chunk)
            if left.is_set():
                break
    except BaseException as error:  # it is the user's to hear, not this thread's
        end = error
    waiting.put(end)

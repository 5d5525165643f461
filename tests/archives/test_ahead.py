"""Reading ahead: the same chunks and errors, within bounds, and nobody reads on afterwards."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from modelplex.archives.ahead import CHUNKS_MAX, DIRECT_BYTES, ahead

CHUNK = bytes(DIRECT_BYTES // 4)


class Source:
    """Numbered chunks, which notes who reads and how far."""

    def __init__(self, count: int, failure: Exception | None = None) -> None:
        self.taken = 0
        self.readers: set[str] = set()
        self._count = count
        self._failure = failure

    def __iter__(self) -> Iterator[bytes]:
        for number in range(self._count):
            self.readers.add(threading.current_thread().name)
            self.taken += 1
            yield number.to_bytes(4, "big") + CHUNK
        if self._failure:
            raise self._failure


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "ahead"]


@pytest.mark.parametrize("count", [0, 1, 4, 5, 100])
def test_all_chunks_come_in_order(count: int) -> None:
    source = Source(count)
    numbers = [int.from_bytes(chunk[:4], "big") for chunk in ahead(iter(source))]
    assert numbers == list(range(count))
    assert not readers()


def test_what_is_small_is_read_without_a_thread() -> None:
    source = Source(4)
    assert len(list(ahead(iter(source)))) == 4
    assert source.readers == {threading.current_thread().name}


@pytest.mark.parametrize("count", [2, 20])
def test_an_error_comes_after_the_chunks_before_it(count: int) -> None:
    stream = ahead(iter(Source(count, OSError("broken off"))))
    got = [next(stream) for _ in range(count)]
    assert len(got) == count
    with pytest.raises(OSError, match="broken off"):
        next(stream)
    assert not readers()


def test_who_leaves_early_is_not_read_for() -> None:
    source = Source(1000)
    stream = ahead(iter(source))
    for _ in range(10):
        next(stream)
    stream.close()
    assert not readers()
    assert source.taken <= 10 + CHUNKS_MAX + 2

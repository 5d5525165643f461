"""Either inflate: the same bytes, the same complaint about damage, the same parts of its state."""

from __future__ import annotations

import gzip
import importlib
import os
from typing import Any

import pytest

from modelplex.archives import gunzip, inflate
from modelplex.archives.gunzip import Gunzip
from modelplex.archives.tree import Refused

DATA = os.urandom(50_000) + bytes(600_000)


@pytest.fixture(params=["zlib", "zlib_ng.zlib_ng"], autouse=True)
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    found = importlib.import_module(request.param)
    monkeypatch.setattr(inflate, "_LIBRARY", found)
    monkeypatch.setattr(gunzip, "InflateError", found.error)
    return found


def unpacked(packed: bytes, step: int) -> bytes:
    chunks = (packed[at : at + step] for at in range(0, len(packed), step))
    stream = Gunzip(chunks, unpacked_max=10_000_000, headers_max=10_000_000)
    return b"".join(stream.pieces(10_000_000))


@pytest.mark.parametrize("step", [7919, 1_000_000])
def test_members_in_a_row_are_one_stream(step: int) -> None:
    assert unpacked(gzip.compress(DATA) + gzip.compress(DATA[:10]), step) == DATA + DATA[:10]


def test_a_wrong_checksum_is_refused() -> None:
    packed = bytearray(gzip.compress(DATA))
    packed[-8] ^= 1
    with pytest.raises(Refused, match="damaged"):
        unpacked(bytes(packed), 100_000)


def test_a_stream_that_does_not_end_is_refused() -> None:
    with pytest.raises(Refused, match="truncated"):
        unpacked(gzip.compress(DATA)[:-9], 100_000)


def test_it_makes_what_gzip_wants(library: Any) -> None:
    assert inflate.inflate().decompress(gzip.compress(b"x")) == b"x"
    assert issubclass(library.error, Exception)

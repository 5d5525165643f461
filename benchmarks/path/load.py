"""What a side is asked: many different requests, each as the bytes that go over the wire, in turn.

A client signs every request anew, and no two bodies are alike; a server that remembers what it has
seen must not gain by it. So `wrk` walks over prepared requests instead of repeating one.
"""

from __future__ import annotations

import base64
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks import sides

REQUESTS = 512  # different ones per shape
REQUESTS_BYTES_MAX = 32 * 1024 * 1024  # of them together: of 1 MB there are 32
_NUMBER_DIGITS = 8
_COUNT = re.compile(rb"^\s+(\d+) requests in ", re.MULTILINE)
_SCRIPT = """
local sizes, requests, at = {%s}, {}, 0
function init()
    local file = io.open('%s', 'rb')
    for i, size in ipairs(sizes) do requests[i] = file:read(size) end
    file:close()
end
function request()
    at = at %% #requests + 1
    return requests[at]
end
"""


class Ask(NamedTuple):
    """One POST: where to, with which headers beside host and length, and its body."""

    path: str
    headers: tuple[str, ...]
    body: bytes


class Shape(NamedTuple):
    """How a side is asked: bytes of a body, connections at a time, models in turn."""

    size: int
    connections: int
    models: int = 1

    @property
    def text(self) -> str:
        """As the command line and the tables have it: `1K-8`, with models `1K-8-100`."""
        unit = 1024 * 1024 if self.size >= 1024 * 1024 else 1024
        size = f"{self.size // unit}{'M' if unit > 1024 else 'K'}"
        return f"{size}-{self.connections}" + (f"-{self.models}" if self.models > 1 else "")


class Measured(NamedTuple):
    """What `wrk` saw, and how many answers that were."""

    load: sides.Load
    answers: int


def shape(text: str) -> Shape:
    """The shape that is written so; ValueError for anything else."""
    match = re.fullmatch(r"(\d+)([KM])-(\d+)(?:-(\d+))?", text)
    if match is None:
        raise ValueError(f"{text!r} is no shape: write 1K-8 (body, connections) or 1K-8-100")
    unit = 1024 if match[2] == "K" else 1024 * 1024
    return Shape(int(match[1]) * unit, int(match[3]), int(match[4] or 1))


def bodies(size: int) -> list[bytes]:
    """Another for each request, all of one size; text, because some peers carry JSON."""
    rest = base64.b64encode(random.Random(size).randbytes(size))[: size - _NUMBER_DIGITS]
    count = max(1, min(REQUESTS, REQUESTS_BYTES_MAX // size))
    return [b"%0*d" % (_NUMBER_DIGITS, number) + rest for number in range(count)]


def wire(ask: Ask, port: int) -> bytes:
    """A request as it goes over the wire."""
    fields = [f"Host: 127.0.0.1:{port}", *ask.headers, f"Content-Length: {len(ask.body)}"]
    return "\r\n".join([f"POST {ask.path} HTTP/1.1", *fields, "", ""]).encode() + ask.body


def write(folder: Path, wires: Sequence[bytes]) -> Path:
    """A script for `wrk` that asks all of these in turn; the folder exists."""
    (folder / "requests").write_bytes(b"".join(wires))
    script = folder / "replay.lua"
    script.write_text(_SCRIPT % (",".join(str(len(each)) for each in wires), folder / "requests"))
    return script


def ask(port: int, script: Path, connections: int, seconds: int) -> Measured:
    """Keeps so many connections busy for so long; AssertionError if an answer was no success."""
    output = sides.replay(f"http://127.0.0.1:{port}/", script, connections, seconds)
    load = sides.parsed(output)
    count = _COUNT.search(output)
    assert count is not None, output
    assert int(count[1]) > 0, f"no answer within {seconds} s"
    return Measured(load, int(count[1]))

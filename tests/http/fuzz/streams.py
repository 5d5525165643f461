"""Random bytes that look like requests, or answers, more or less."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from tests.http.cases import EXPECTED, PROBE

_CASES = [data for _, data, _ in EXPECTED if len(data) < 2000]
_BEGINS = re.compile(rb"(?=(?:GET|POST|PUT|HEAD) [/h])")
_NAMES = [b"A", b"x-amz-date", b"Content-Type", b"Accept", b"a_b", b"Connection", b"TE", b"X-B"]
_VALUES = [
    b"",
    b"b",
    b"a, b",
    b"close",
    b"keep-alive",
    b"100-continue",
    b"\xe4",
    b"b\tc",
    b"y" * 300,
]
_TARGETS = [b"/", b"/a?b=c", b"/endpoints/e/invocations", b"http://x/y", b"*", b"/%41", b"//x"]
_METHODS = [b"GET", b"POST", b"PUT", b"HEAD", b"DELETE", b"OPTIONS", b"PATCH", b"CONNECT", b"BREW"]
_SPLICES = [
    *(b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\0", b" ", b"\t", b":", b",", b";", b"0", b"\x0b"),
    *(
        b"\xff",
        b"chunked",
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Length: 3\r\n",
        b"HTTP/1.1",
    ),
    *(b"Host: y\r\n", b"0\r\n\r\n", b"Connection: close\r\n", b"Expect: 100-continue\r\n", PROBE),
]


def requests(rng: random.Random) -> bytes:
    """A few requests, some of them mutated; as often as not the last one closes."""
    parts = [_request(rng) for _ in range(rng.randint(1, 4))]
    if rng.random() < 0.3:
        parts += [parts[0]] * rng.randint(1, 3)
    data = b"".join(parts)
    if rng.random() < 0.6:
        data = mutated(rng, data)
    return data + rng.choice([b"", PROBE])


def answers(rng: random.Random) -> bytes:
    """One or two answers to a client, some of them mutated."""
    data = b"".join(_answer(rng) for _ in range(rng.randint(1, 2)))
    return mutated(rng, data) if rng.random() < 0.6 else data


def mutated(rng: random.Random, data: bytes) -> bytes:
    """The same with a few bytes dropped, changed, doubled or put in."""
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        at = rng.randrange(len(out) + 1)
        end = min(len(out), at + rng.choice([0, 0, 1, 1, 2, 10]))
        out[at:end] = rng.choice([b"", rng.randbytes(1), rng.choice(_SPLICES), out[at:end] * 2])
    return bytes(out)


def cut(rng: random.Random, data: bytes) -> list[bytes]:
    """The same in pieces."""
    places = sorted(rng.choices(range(len(data) + 1), k=rng.choice([1, 2, 3, 10])))
    pieces = [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]
    return [piece for piece in pieces if piece]


def messages(data: bytes) -> list[bytes]:
    """The same in pieces that begin where requests seem to."""
    return [piece for piece in _BEGINS.split(data) if piece]


def _request(rng: random.Random) -> bytes:
    if rng.random() < 0.3:
        return rng.choice(_CASES)
    body = rng.randbytes(rng.choice([0, 1, 3, 300]))
    version = b"1.0" if rng.random() < 0.05 else b"1.1"
    line = b"%b %b HTTP/%b" % (_often(rng, _METHODS), _often(rng, _TARGETS), version)
    return b"\r\n".join([line, b"Host: x", *_fields(rng)]) + _framed(rng, body)


def _answer(rng: random.Random) -> bytes:
    body = rng.randbytes(rng.choice([0, 1, 3, 300]))
    status = rng.choice([200, 200, 200, 100, 102, 101, 204, 304, 404, 500, 999])
    lines = b"\r\n".join([b"HTTP/1.1 %d OK" % status, *_fields(rng)])
    return lines + rng.choice([b"\r\n\r\n" + body, _framed(rng, body), _framed(rng, body)])


def _fields(rng: random.Random) -> list[bytes]:
    pairs = [(rng.choice(_NAMES), rng.choice(_VALUES)) for _ in range(rng.choice([0, 1, 2, 8]))]
    return [name + b": " + value for name, value in pairs]


def _framed(rng: random.Random, body: bytes) -> bytes:
    if rng.random() < 0.5:
        return b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    chunks = [piece for piece in cut(rng, body) if piece]
    extension = rng.choice([b"", b"", b";a=b"])
    lines = [b"%x%b\r\n%b\r\n" % (len(piece), extension, piece) for piece in chunks]
    trailer = rng.choice([b"", b"", b"T: x\r\n"])
    return b"\r\nTransfer-Encoding: chunked\r\n\r\n" + b"".join(
        [*lines, b"0\r\n", trailer, b"\r\n"]
    )


def _often(rng: random.Random, choices: Sequence[bytes]) -> bytes:
    """Mostly one of the first two."""
    return choices[rng.randrange(2)] if rng.random() < 0.8 else rng.choice(choices)

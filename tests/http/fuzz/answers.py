"""Random answers to the HTTP client: an answer or one of its own errors, always, and soon."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import h11

from modelplex.http.client import Client, ClientLimits
from modelplex.http.errors import BadMessage, BodyTimeout, BodyTooLarge, ConnectionLost
from tests.http.fuzz import streams

_LIMITS = ClientLimits(response_timeout_s=0.05, body_timeout_s=0.05, headers_bytes_max=4096)
_BODY_MAX = 64 * 1024  # bytes
_SOON_S = 20.0  # a client that is not done by then hangs
_ERRORS = (BadMessage, BodyTimeout, BodyTooLarge, ConnectionLost, TimeoutError)
Answer = tuple[int, bytes]


async def check(folder: str, seed: int, tally: Counter[str]) -> str:
    """What went wrong with the answers of this seed; "" if nothing did. `tally` counts."""
    rng = random.Random(seed)
    data, method = streams.answers(rng), rng.choice(["GET", "GET", "POST", "HEAD"])
    closes = rng.random() < 0.97
    results = []
    for pieces in ([data], streams.cut(rng, data)):
        results.append(await _ask(f"{folder}/hostile.sock", method, pieces, closes))
        tally[f"answer: {type(results[-1]).__name__}"] += 1
    whole, other = results
    if isinstance(whole, tuple) and isinstance(other, tuple) and whole != other:
        return f"{data!r} to {method}: {whole!r} whole, {other!r} in pieces"
    theirs = _reading(method, data) if closes else None
    if isinstance(whole, tuple) and theirs is not None and whole != theirs:
        return f"{data!r} to {method}: we read {whole!r}, h11 reads {theirs!r}"
    tally["answers compared with h11"] += isinstance(whole, tuple) and theirs is not None
    return ""


async def _ask(path: str, method: str, pieces: list[bytes], closes: bool) -> Answer | Exception:
    """What the client makes of a server that says this, whatever it is asked."""

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            for piece in pieces:
                writer.write(piece)
                await asyncio.sleep(0)
            if not closes:
                await reader.read()
        except (OSError, RuntimeError, asyncio.IncompleteReadError):
            pass  # the client has left, which uvloop tells by any of them
        finally:
            writer.close()

    server = await asyncio.start_unix_server(say, path)
    client = Client(f"unix:{path}", _LIMITS)
    try:
        async with asyncio.timeout(_SOON_S):
            answer = await client.request(method, b"/", [])
            return answer.status, await answer.read(_BODY_MAX)
    except _ERRORS as error:
        return error
    finally:
        await client.close()
        server.close()
        await server.wait_closed()


def _reading(method: str, data: bytes) -> Answer | None:
    """What h11 reads; None if it refuses, or misses bytes."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(data)
    connection.receive_data(b"")
    status, body = 0, b""
    try:
        while not isinstance(event := connection.next_event(), h11.EndOfMessage):
            match event:
                case h11.Response():
                    status = event.status_code
                case h11.Data():
                    body += event.data
                case h11.InformationalResponse():
                    pass
                case _:
                    return None
    except h11.RemoteProtocolError:
        return None
    return status, body

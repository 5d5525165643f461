"""The clients of a soak, as a process of their own: open loop, raw sockets, every answer checked.

    python -m benchmarks.soak.clients PLAN.json

writes a line of JSON for each period, and ends. A client that finds no connection idle opens one;
beyond IN_FLIGHT_MAX requests at once the next ones are not sent, and counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import sys
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from benchmarks.soak.traffic import KINDS, NAMED, SHED, Draw, Wish

IN_FLIGHT_MAX = 400
ANSWER_S = 90.0  # to an answer; later: wrong
_DRIBBLE_S, _DRIBBLES = 0.2, 10  # of a slow client
_WRONG_TOLD = 20  # with their texts


@dataclass(frozen=True, slots=True)
class Plan:
    """What this process does."""

    port: int
    endpoint: str
    region: str
    access_key: str
    secret_key: str
    rate: float
    seconds: float
    period_s: float
    seed: int


class Signer:
    """Signature version 4 of one service, by its description: nothing of modelplex's own."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._day = ""
        self._key = b""

    def headers(self, path: str, model: str, body: bytes) -> list[str]:
        """The header lines of a signed POST."""
        plan, now = self._plan, datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        day, host = now[:8], f"127.0.0.1:{plan.port}"
        if day != self._day:
            self._day, self._key = day, f"AWS4{plan.secret_key}".encode()
            for part in (day, plan.region, "sagemaker", "aws4_request"):
                self._key = _hmac(self._key, part)
        names = "host;x-amz-date;x-amzn-sagemaker-target-model"
        target = f"{model}.tar.gz"
        signed = f"host:{host}\nx-amz-date:{now}\nx-amzn-sagemaker-target-model:{target}\n"
        digest = hashlib.sha256(body).hexdigest()
        request = f"POST\n{path}\n\n{signed}\n{names}\n{digest}"
        scope = f"{day}/{plan.region}/sagemaker/aws4_request"
        hashed = hashlib.sha256(request.encode()).hexdigest()
        text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashed}"
        signature = _hmac(self._key, text).hex()
        credential = f"Credential={plan.access_key}/{scope}"
        return [
            f"host: {host}",
            f"x-amz-date: {now}",
            f"x-amzn-sagemaker-target-model: {target}",
            f"authorization: AWS4-HMAC-SHA256 {credential}, SignedHeaders={names}, "
            f"Signature={signature}",
        ]


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


class Tally:
    """What became of the requests of one period."""

    def __init__(self) -> None:
        self.statuses: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.wrongs = 0
        self.unsent = 0
        self.times_ms: dict[str, list[float]] = defaultdict(list)

    def told(self, now: float) -> str:
        """As a line of JSON, with median and 99th percentile of the right answers' times."""
        times = {kind: _percentiles(each) for kind, each in self.times_ms.items()}
        return json.dumps(
            {
                "now": now,
                "statuses": self.statuses,
                "wrong": self.wrong,
                "wrongs": self.wrongs,
                "unsent": self.unsent,
                "times_ms": times,
            }
        )


def _percentiles(times: list[float]) -> tuple[float, float]:
    times.sort()
    return times[len(times) // 2], times[len(times) * 99 // 100]


class Clients:
    """All of them, over one pool of connections that are kept alive."""

    def __init__(self, plan: Plan) -> None:
        self.tally = Tally()
        self._plan = plan
        self._signer = Signer(plan)
        self._draw = Draw(plan.seed)
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._running: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Arrivals for as long as planned, and the rest of the answers."""
        reporter = asyncio.create_task(self._report())
        due = began = time.monotonic()
        while (due := due + self._draw.pause_s(self._plan.rate)) < began + self._plan.seconds:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            wish = self._draw.wish()
            if len(self._running) >= IN_FLIGHT_MAX:
                self.tally.unsent += 1
                continue
            task = asyncio.create_task(self._one(wish))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        if self._running:
            await asyncio.wait(self._running)
        reporter.cancel()
        self._flush()
        for _, writer in self._idle:
            writer.close()

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(self._plan.period_s)
            self._flush()

    def _flush(self) -> None:
        tally, self.tally = self.tally, Tally()
        sys.stdout.write(tally.told(time.time()) + "\n")
        sys.stdout.flush()

    async def _one(self, wish: Wish) -> None:
        began = time.monotonic()
        try:
            async with asyncio.timeout(ANSWER_S):
                status, body = await self._ask(wish)
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            self._judge(wish, 0, f"{type(error).__name__} {error}".encode())
            return
        self._judge(wish, status, body)
        took_ms = (time.monotonic() - began) * 1000
        if status in KINDS[wish.kind].right:
            self.tally.times_ms[wish.kind].append(took_ms)

    def _judge(self, wish: Wish, status: int, body: bytes) -> None:
        """A success must be its own answer, and a failure of a model must name that model."""
        kind = KINDS[wish.kind]
        self.tally.statuses[f"{wish.kind}: {status or 'none'}"] += 1
        right = status in kind.right or status in SHED
        if status == 200:
            right = right and body == wish.answer
        elif right and wish.kind in NAMED and status not in SHED:
            right = f"{wish.model}.tar.gz".encode() in body
        if not right:
            self.tally.wrongs += 1
            if len(self.tally.wrong) < _WRONG_TOLD:
                text = body[:200].decode(errors="replace")
                self.tally.wrong.append(f"{wish.kind} {wish.model}: {status} {text}")

    async def _ask(self, wish: Wish) -> tuple[int, bytes]:
        """Status and body; (0, b"") when the client has left."""
        head = self._head(wish)
        reused = bool(self._idle)
        try:
            return await self._exchange(wish, head, await self._connection())
        except (ConnectionError, EOFError):
            if not reused:
                raise
        # A kept-alive connection may have been closed between two requests.
        self.tally.statuses["sent again, on a new connection"] += 1
        return await self._exchange(wish, head, await self._new())

    async def _exchange(
        self,
        wish: Wish,
        head: bytes,
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> tuple[int, bytes]:
        reader, writer = connection
        keep = False
        try:
            await self._send(wish, head, writer)
            if wish.kind == "client vanishes":
                return 0, b""
            status, body, keep = await _read(reader)
        finally:
            if keep:
                self._idle.append(connection)
            else:
                writer.close()
        return status, body

    async def _send(self, wish: Wish, head: bytes, writer: asyncio.StreamWriter) -> None:
        if wish.kind == "client vanishes":
            writer.write(head + wish.body[: len(wish.body) // 2 * (hash(wish.body) % 3)])
            await writer.drain()
        elif wish.kind == "slow client":
            step = len(wish.body) // _DRIBBLES
            writer.write(head)
            for at in range(0, len(wish.body), step):
                writer.write(wish.body[at : at + step])
                await asyncio.sleep(_DRIBBLE_S)
        else:
            writer.write(head + wish.body)
            with contextlib.suppress(ConnectionError):  # it may have answered already
                await writer.drain()

    def _head(self, wish: Wish) -> bytes:
        endpoint = "nowhere" if wish.kind == "no such endpoint" else self._plan.endpoint
        path = f"/endpoints/{endpoint}/invocations"
        signed = b"something else" if wish.kind == "bad signature" else wish.body
        lines = self._signer.headers(path, wish.model, signed)
        lines += [f"content-length: {len(wish.body)}", "content-type: text/plain", "", ""]
        return "\r\n".join([f"POST {path} HTTP/1.1", *lines]).encode()

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return self._idle.pop() if self._idle else await self._new()

    async def _new(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self._plan.port)


async def _read(reader: asyncio.StreamReader) -> tuple[int, bytes, bool]:
    """Status, body, and whether the connection can be used again."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = int(head.partition("content-length:")[2].partition("\r\n")[0])
    body = await reader.readexactly(length)
    return int(head.split(" ", 2)[1]), body, "connection: close" not in head


if __name__ == "__main__":
    uvloop.run(Clients(Plan(**json.loads(Path(sys.argv[1]).read_text()))).run())

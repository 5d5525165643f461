"""Several gateways: who gets the connections, and how often models load as they disagree.

The first table opens connections one after the other before four processes that accept them: from
one common socket, and from a socket each, as gateways do. The second plays the same requests to
gateways before four instances in the world of `tests/core/routing/gateways.py`, with the board that
they share and without it. The third is the CPU time of a placement: to choose, to send, and to hear
the answer of a request for a warm model.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import socket
import time
from collections import Counter
from collections.abc import Sequence

import uvloop

from modelplex.core.routing.board import Board
from modelplex.core.routing.placement import Placement, PlacementLimits, Site
from modelplex.core.routing.tally import Told
from modelplex.http.addresses import listen_shared
from tests.core.routing.gateways import fleet, poisson

PROCESSES = 4
CONNECTIONS = 128
RUNS = 3
MODELS = 300
SECONDS = 12.0


def run(_arguments: Sequence[str]) -> str:
    """Both tables; takes about a minute."""
    lines = ["## Gateways: connections of each of four processes", ""]
    lines += ["| sockets | in each run, most first |", "|---|---|"]
    for name, count in (("one for all", 1), ("one each", PROCESSES)):
        shares = [", ".join(map(str, _spread(count))) for _ in range(RUNS)]
        lines.append(f"| {name} | {'; '.join(shares)} |")
    lines += ["", f"## Gateways: loads of {MODELS} models on four uneven instances", ""]
    lines += ["| gateways | with the board | without |", "|--:|--:|--:|"]
    for count in (1, 2, 4, 8):
        loads = [[_loads(count, board, seed) for seed in range(RUNS)] for board in (True, False)]
        together, apart = (", ".join(map(str, each)) for each in loads)
        lines.append(f"| {count} | {together} | {apart} |")
    lines += ["", "## Gateways: CPU time of a placement, per request", ""]
    lines += ["| instances | models | gateways | µs |", "|--:|--:|--:|--:|"]
    for instances, models, gateways in ((1, 1, 1), (4, 1, 1), (4, 100, 1), (4, 100, 4)):
        cost_us = min(_cost_us(instances, models, gateways) for _ in range(RUNS))
        lines.append(f"| {instances} | {models} | {gateways} | {cost_us:.2f} |")
    return "\n".join(lines) + "\n"


def _spread(sockets: int) -> list[int]:
    """How many of the connections each process has got."""
    listeners = listen_shared("127.0.0.1", 0, sockets)
    context = multiprocessing.get_context("fork")
    started = [
        context.Process(target=_accept, args=(listeners[number % sockets], number))
        for number in range(PROCESSES)
    ]
    for each in started:
        each.start()
    address = listeners[0].getsockname()
    opened = [_ask(address) for _ in range(CONNECTIONS)]
    got = Counter(number for _, number in opened)
    for client, _ in opened:
        client.close()
    for each in started:
        each.terminate()
        each.join()
    for listener in listeners:
        listener.close()
    return sorted((got[number] for number in range(PROCESSES)), reverse=True)


def _ask(address: tuple[str, int]) -> tuple[socket.socket, int]:
    """A connection that stays open, and the number of the process that has it."""
    client = socket.create_connection(address, timeout=10)
    return client, client.recv(1)[0]


def _accept(listener: socket.socket, number: int) -> None:
    """Be a process that accepts, and says to each client which one it is."""
    kept = []

    def accept() -> None:
        try:
            client, _ = listener.accept()
        except BlockingIOError:
            return
        client.send(bytes([number]))
        kept.append(client)

    async def serve() -> None:
        asyncio.get_running_loop().add_reader(listener, accept)
        await asyncio.Event().wait()

    uvloop.run(serve())


def _loads(gateways: int, board: bool, seed: int) -> int:
    """Each model is first asked for six times in 2 ms, and then once a second."""
    draw, world = random.Random(seed), fleet(gateways, 4, seed, board=board)
    arrivals = []
    for number in range(MODELS):
        begin, model = draw.random() * SECONDS, f"m{number}"
        later = poisson(draw, model, 1.0, 0.02, SECONDS - begin)
        arrivals += [(begin + ask * 0.0003, model, 0.02) for ask in range(6)]
        arrivals += [(begin + at, model, handle_s) for at, _, handle_s in later]
    for number in range(6):
        arrivals += poisson(draw, f"heavy-{number}", 3, 0.2, SECONDS)
    world.play(sorted(arrivals))
    return world.loads.total()


def _cost_us(instances: int, models: int, gateways: int, requests: int = 30_000) -> float:
    """Of one request of many, one after the other, each answered after 0.1 ms."""
    board = Board(memoryview(bytearray(1 << 22))) if gateways > 1 else None
    placement = Placement(PlacementLimits(gateways=gateways), board, "e/v")
    placement.update([Site(f"i-{number}", healthy=True) for number in range(instances)])
    names = [f"m{number}" for number in range(models)]
    told = Told(0.5, 0.01) if gateways > 1 else None
    began = time.process_time()
    for number in range(requests):
        model, now = names[number % models], number * 0.0002
        site = placement.choose(model, now)[0]
        placement.sent(model, site, now)
        placement.answered(model, site, now + 0.0001, "warm", 0.0001, told=told)
    return (time.process_time() - began) / requests * 1e6

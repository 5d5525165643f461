"""The gateways: how many, what they are called, and what they share.

Every gateway has a listening socket of its own, all on one port: so the kernel deals connections
out evenly, where processes that take them from one common queue leave most to whoever is quickest.
The supervisor opens the sockets and keeps them open. So the port is taken before the first process
starts, and what waits for a gateway that has died waits on: for its successor, or for a sibling,
which looks once a second after what nobody takes (`http.server.serve_on`).

They also share a piece of memory, the board of `core/routing/board.py`, which outlives each.
"""

from __future__ import annotations

import os
import sys

from modelplex.http.addresses import listen_shared
from modelplex.settings import Settings
from modelplex.supervisor.spec import Spec

# Of an echo's CPU time four tenths are the gateway's (benchmarks/warm.py), of a model's that takes
# a millisecond one tenth or two. So these keep up with all but the very smallest models.
CORES_EACH = 4
BOARD_BYTES = 4 * 1024 * 1024  # for 262,144 models; beyond, the oldest are forgotten


def automatic() -> int:
    """One for every four cores that this process may use, at least one."""
    return max(1, len(os.sched_getaffinity(0)) // CORES_EACH)


def names(count: int) -> list[str]:
    """`gateway`, or `gateway-1` and so on where there are several."""
    return ["gateway"] if count == 1 else [f"gateway-{number}" for number in range(1, count + 1)]


class Shared:
    """The sockets on HOST:PORT, one for each gateway, and memory that several have in common."""

    def __init__(self, host: str, port: int, count: int) -> None:
        """Port 0: any free one. Raises OSError if it cannot be listened on."""
        self._sockets = listen_shared(host, port, count)
        self.board: int | None = None  # a descriptor
        if count > 1:
            self.board = os.memfd_create("modelplex-board")
            os.ftruncate(self.board, BOARD_BYTES)

    @property
    def port(self) -> int:
        """The port, as the kernel says it."""
        return int(self._sockets[0].getsockname()[1])

    def listeners(self, index: int) -> tuple[int, ...]:
        """Descriptors for the gateway of that index: its own socket first, then its siblings'."""
        numbers = [each.fileno() for each in self._sockets]
        return (numbers[index], *numbers[:index], *numbers[index + 1 :])

    def close(self) -> None:
        """From now on the port is open for as long as gateways hold it. No more can be started."""
        for each in self._sockets:
            each.close()
        if self.board is not None:
            os.close(self.board)
            self.board = None


def specs(settings: Settings, shared: Shared) -> dict[str, Spec]:
    """Name -> how to run it, for all `settings.gateways`."""
    return {
        name: _spec(settings, name, shared.listeners(index), shared.board)
        for index, name in enumerate(names(settings.gateways))
    }


def _spec(settings: Settings, name: str, listeners: tuple[int, ...], board: int | None) -> Spec:
    argv = [sys.executable, "-m", "modelplex.gateway", "--data", str(settings.data)]
    argv += ["--name", name, "--listeners", ",".join(map(str, listeners))]
    if board is None:
        return Spec(tuple(argv), restart=True, descriptors=listeners)
    argv += ["--board", str(board)]
    return Spec(tuple(argv), restart=True, descriptors=(*listeners, board))

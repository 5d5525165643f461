"""`python -m modelplex.gateway --data DIR --listeners FD`: the gateway as a process of its own."""

from __future__ import annotations

import argparse
import mmap
import socket
from pathlib import Path

import uvloop

from modelplex.core.routing.board import Board
from modelplex.gateway import app
from modelplex.http import heap


def main() -> None:
    """Parse the arguments and run until told to stop."""
    parser = argparse.ArgumentParser(prog="modelplex.gateway", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the platform's data folder")
    parser.add_argument("--name", default="gateway", help="what this one is called among several")
    parser.add_argument(
        "--listeners",
        type=_sockets,
        required=True,
        metavar="FD,…",
        help="inherited listening sockets on the platform's port, its own first",
    )
    parser.add_argument(
        "--board", type=_board, metavar="FD", help="inherited memory that all gateways share"
    )
    given = parser.parse_args()
    app.die_with_parent()
    heap.keep_freed()
    heap.collect_rarely()
    uvloop.run(app.run(given.data.absolute(), given.name, given.listeners, given.board))


def _sockets(text: str) -> list[socket.socket]:
    return [socket.socket(fileno=int(each)) for each in text.split(",")]


def _board(text: str) -> Board:
    return Board(memoryview(mmap.mmap(int(text), 0)))


if __name__ == "__main__":
    main()

"""The floors: a bare echo, and one with a hop to a worker."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from benchmarks import floors
from benchmarks.model_server import tree
from benchmarks.path.load import Ask
from benchmarks.path.sides.side import Side


@contextmanager
def bare() -> Iterator[Side]:
    """A bare httptools echo in one process."""
    with _floor("bare", floors.bare) as side:
        yield side


@contextmanager
def one_hop() -> Iterator[Side]:
    """The same with one hop over a socketpair."""
    with _floor("hop", floors.one_hop) as side:
        yield side


@contextmanager
def _floor(name: str, start: Callable[[], Any]) -> Iterator[Side]:
    others = set(multiprocessing.active_children())
    with start() as url:
        (process,) = set(multiprocessing.active_children()) - others
        pids = tree(process.pid or 0)
        roles = {"server": (pids[0],)} | ({"worker": tuple(pids[1:])} if pids[1:] else {})
        port = urlsplit(url).port or 0
        yield Side(name, port, lambda _, body: Ask("/", (), body), lambda: roles, ours=True)

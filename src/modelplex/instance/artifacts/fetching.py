"""The process that fetches for an instance: `python -m modelplex.instance.artifacts.fetching FD`.

Downloading, hashing, inflating, unpacking and all that is done to folders is work for a core. In
the instance's own process it would hold up every request; this one gives way to all that answers
requests, and has the disk to itself. It does in threads what `wire.py` says, and ends when its
instance does.
"""

from __future__ import annotations

import itertools
import json
import os
import socket
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from modelplex.aws.locations import Location, join, parse_model_data_url
from modelplex.instance.artifacts import wire
from modelplex.instance.artifacts.disk import Artifacts, Unprepared
from modelplex.instance.artifacts.download import Download
from modelplex.instance.artifacts.store import Store
from modelplex.instance.artifacts.wire import Document, Storage
from modelplex.workers import priority

SWITCH_INTERVAL_S = 0.05  # nobody here is in a hurry
DROPS_AT_ONCE = 1  # removing folders
VERSIONS_AT_ONCE = 4  # questions to the store


class Desk:
    """Takes orders, has them carried out in threads, and hands back the answers."""

    def __init__(self, sock: socket.socket, storage: Storage) -> None:
        self._sock = sock
        self._saying = threading.Lock()
        self._artifacts = Artifacts(
            storage.folder,
            Store(storage.keys, storage.file_roots),
            _locator(storage),
            storage.limits,
            share=storage.share,
            prepare=self._prepare if storage.prepares else None,
        )
        self._downloads: dict[int, Download] = {}
        self._preparing: dict[int, Future[str]] = {}
        self._numbers = itertools.count()
        self._fetches = ThreadPoolExecutor(storage.at_once, "fetch")
        self._drops = ThreadPoolExecutor(DROPS_AT_ONCE, "drop")
        self._versions = ThreadPoolExecutor(VERSIONS_AT_ONCE, "version")

    def open(self) -> None:
        """Tell what is on the disk. Raises OSError."""
        for model, found in self._artifacts.recover().items():
            self._say({"found": [model, asdict(found)]})
        self._say({"ready": True})

    def take(self, order: Document) -> None:
        """Begin what an order says."""
        match order:
            case {"id": number, "fetch": model, "limit": limit_bytes}:
                download = self._downloads[number] = Download()
                self._fetches.submit(self._fetch, number, model, limit_bytes, download)
            case {"id": number, "drop": model}:
                self._drops.submit(self._answer, number, lambda: self._dropped(model))
            case {"id": number, "version": model}:
                self._versions.submit(self._answer, number, lambda: self._version(model))
            case {"serves": model}:
                self._artifacts.serves(model)
            case {"stop": number}:
                if (under_way := self._downloads.get(number)) is not None:
                    under_way.stop.set()
            case {"prepared": number, "problem": problem}:
                self._preparing.pop(number).set_result(problem)

    # -- in threads ---------------------------------------------------------------------------

    def _fetch(self, number: int, model: str, limit_bytes: int, download: Download) -> None:
        def fetched() -> Document:
            found = self._artifacts.fetch(model, limit_bytes, download)
            return {"fetched": asdict(found), "steps": download.steps()}

        self._answer(number, fetched)
        del self._downloads[number]

    def _dropped(self, model: str) -> Document:
        self._artifacts.drop(model)
        return {"dropped": True}

    def _version(self, model: str) -> Document:
        return {"version": self._artifacts.version(model)}

    def _prepare(self, model: str, folder: Path) -> None:
        """Have the instance's image add to an artifact. Raises Unprepared."""
        number, prepared = next(self._numbers), Future[str]()
        self._preparing[number] = prepared
        self._say({"prepare": number, "model": model, "folder": str(folder)})
        if problem := prepared.result():
            raise Unprepared(problem)

    def _answer(self, number: int, work: Callable[[], Document]) -> None:
        try:
            answer = work()
        except Exception as error:  # the other side says what is to come of it
            answer = {"error": wire.error_to(error)}
        self._say({"id": number, **answer})

    def _say(self, document: Document) -> None:
        with self._saying:
            self._sock.sendall(wire.line(document))


def _locator(storage: Storage) -> Callable[[str], Location]:
    """Where a model's archive is. Raises ValueError for a URL that names no place."""
    root = parse_model_data_url(storage.model_data_url)

    def locate(model: str) -> Location:
        return join(root, model) if storage.multi_model else root

    return locate


def main() -> None:
    """Serve the instance at the other end of the socket whose descriptor is the argument."""
    priority.give_way_for_good()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    sock = socket.socket(fileno=int(sys.argv[1]))
    orders = sock.makefile("rb")
    desk = Desk(sock, wire.storage_from(json.loads(orders.readline())))
    try:
        desk.open()
    except OSError as error:
        sock.sendall(wire.line({"error": wire.error_to(error)}))
        sys.exit(1)
    for order in orders:
        desk.take(json.loads(order))
    os._exit(0)  # whatever its threads are doing: nobody waits for it any more


if __name__ == "__main__":
    main()

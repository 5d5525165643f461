"""The process that fetches for an instance: `python -m modelplex.instance.artifacts.fetching`.

Downloading, hashing, inflating and unpacking are work for a core. In the instance's own process
they would hold up every request; this one gives way to all that answers requests. It has a thread
for each tube, which does what `wire.py` says. It ends with its instance, when its standard input
does.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import threading
from dataclasses import asdict
from pathlib import Path

from modelplex.archives.tree import Bounds
from modelplex.instance.artifacts import wire
from modelplex.instance.artifacts.opening import Download, Here, OpenedHere
from modelplex.instance.artifacts.store import Store
from modelplex.instance.artifacts.wire import Document, Tube
from modelplex.instance.spec import StoreKeys
from modelplex.workers import priority

SWITCH_INTERVAL_S = 0.05  # nobody here is in a hurry


class _Told(threading.Event):
    """Set when the instance has said something, or has ended, while an archive is unpacked."""

    def __init__(self, tube: Tube) -> None:
        super().__init__()
        self.is_set = tube.has_more  # type: ignore[method-assign]


class _Porter:
    """One tube: at most one archive is open on it."""

    def __init__(self, tube: Tube, source: Here) -> None:
        self._tube = tube
        self._source = source
        self._opened: OpenedHere | None = None

    def serve(self) -> None:
        """Until the instance ends."""
        while (order := self._tube.receive()) is not None:
            if "stop" in order:  # it came when the unpacking had just ended
                continue
            download = Download(_Told(self._tube))
            try:
                answer = self._obey(order, download)
            except Exception as error:  # the other side says what is to come of it
                answer = {"error": wire.error_to(error), "received": download.received_bytes}
            self._tube.send(answer)

    def _obey(self, order: Document, download: Download) -> Document:
        if "open" in order:
            found = self._opened = self._source.open(wire.location_from(order["open"]))
            told = {"size": found.size, "version": found.version, "bucket": found.bucket}
            return {"opened": told}
        opened, self._opened = self._opened, None
        assert opened is not None
        with contextlib.closing(opened):
            if "close" in order:
                return {"closed": True}
            taken = opened.unpack(Path(order["unpack"]), Bounds(*order["bounds"]), download)
        told = {"content": download.content, "received": download.received_bytes}
        return {"unpacked": taken, "times": asdict(download.times)} | told


def main() -> None:
    """Serve the tubes whose descriptors are the arguments; standard input tells of the store."""
    priority.give_way_for_good()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    told = json.loads(sys.stdin.readline())
    roots = tuple(Path(root) for root in told["roots"])
    source = Here(Store(StoreKeys(**told["keys"]), roots))
    for descriptor in map(int, sys.argv[1:]):
        porter = _Porter(Tube(socket.socket(fileno=descriptor)), source)
        threading.Thread(target=porter.serve, daemon=True).start()
    sys.stdin.read()
    os._exit(0)  # whatever its threads are doing: nobody waits for it any more


if __name__ == "__main__":
    main()

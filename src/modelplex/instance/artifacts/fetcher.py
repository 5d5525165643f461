"""The instance's side of the process that fetches for it (`fetching.py`).

Its methods block, and may be called in as many threads as it has tubes. A process that ends is
started again by whoever needs it next; what it was doing counts as broken off, and is tried again.
"""

from __future__ import annotations

import contextlib
import json
import logging
import queue
import socket
import subprocess
import sys
import threading
from dataclasses import asdict, astuple
from pathlib import Path

from modelplex.archives.gunzip import Times
from modelplex.archives.tree import Bounds
from modelplex.aws.locations import Location
from modelplex.instance.artifacts import wire
from modelplex.instance.artifacts.opening import Download
from modelplex.instance.artifacts.store import Store, Unavailable
from modelplex.instance.artifacts.wire import Document, Tube
from modelplex.instance.spec import StoreKeys

log = logging.getLogger(__name__)

STOP_LOOK_S = 0.2  # between two looks at whether a download is to stop
_MODULE = "modelplex.instance.artifacts.fetching"


class Fetcher:
    """A `Source` in a process of its own."""

    def __init__(
        self, keys: StoreKeys, file_roots: tuple[Path, ...], tubes: int, cwd: Path
    ) -> None:
        """`tubes`: archives that may be open at once. `cwd` only shows whose process it is."""
        self._tubes = tubes
        self._cwd = cwd
        self._told = {"keys": asdict(keys), "roots": [str(root) for root in file_roots]}
        self._child: _Child | None = None
        self._closed = False
        self._lock = threading.Lock()  # of the child's start and end
        self.version = Store(keys, file_roots).version

    def start(self) -> None:
        """Start the process, so that the first fetch need not. Raises OSError."""
        with self._lock:
            self._living()

    def open(self, location: Location) -> Fetched:
        """Ask the store for an archive. Raises Unavailable, FetchFailure and OSError."""
        with self._lock:
            child = self._living()
            tube = child.take()
        try:
            told = _asked(child, tube, {"open": wire.location_to(location)})["opened"]
        except BaseException:
            child.give_back(tube)
            raise
        return Fetched(child, tube, **told)

    def close(self) -> None:
        """End the process, whatever it is doing, and start no other."""
        with self._lock:
            self._closed = True
            if self._child is not None:
                self._child.end()

    def _living(self) -> _Child:
        if self._closed:
            raise Unavailable("the instance is being stopped")
        if self._child is not None and self._child.process.poll() is not None:
            log.warning("fetcher.died", extra={"status": self._child.process.returncode})
            self._child.end()
            self._child = None
        if self._child is None:
            self._child = _Child(self._told, self._tubes, self._cwd)
        return self._child


class _Child:
    """One life of the process, and those of its tubes that are free."""

    def __init__(self, told: Document, tubes: int, cwd: Path) -> None:
        self._free: queue.SimpleQueue[Tube] = queue.SimpleQueue()
        self._ended = False
        pairs = [socket.socketpair() for _ in range(tubes)]
        theirs = [their.fileno() for _, their in pairs]
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-m", _MODULE, *map(str, theirs)],
                stdin=subprocess.PIPE,
                pass_fds=theirs,
                cwd=cwd,
                start_new_session=True,
            )
        finally:
            for _, their in pairs:
                their.close()
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(told).encode() + b"\n")
        self.process.stdin.flush()
        for ours, _ in pairs:
            ours.settimeout(STOP_LOOK_S)
            self._free.put(Tube(ours))

    def take(self) -> Tube:
        """A tube that is free. Raises Unavailable."""
        try:
            return self._free.get_nowait()
        except queue.Empty:
            raise Unavailable("more archives are wanted at once than this was made for") from None

    def give_back(self, tube: Tube) -> None:
        """It is free again, and closed if there is no more use for it."""
        self._free.put(tube)
        if self._ended:
            self._close_free()

    def end(self) -> None:
        """It is gone when this returns. Its tubes end with it, for whoever waits on one."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdin is not None
        self.process.stdin.close()
        self._ended = True
        self._close_free()

    def _close_free(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._free.get_nowait().sock.close()


class Fetched:
    """An archive that the process has opened: an `Opened`."""

    def __init__(self, child: _Child, tube: Tube, size: int, version: str, bucket: str) -> None:
        self.size, self.version, self.bucket = size, version, bucket
        self._child = child
        self._tube = tube
        self._unpacked = False

    def unpack(self, folder: Path, bounds: Bounds, download: Download) -> int:
        """As `Opened` says."""
        self._unpacked = True
        download.archive_bytes = self.size
        order = {"unpack": str(folder), "bounds": astuple(bounds)}
        answer = _asked(self._child, self._tube, order, download)
        download.content, download.times = answer["content"], Times(**answer["times"])
        taken: int = answer["unpacked"]
        return taken

    def close(self) -> None:
        """Its tube is free again."""
        try:
            if not self._unpacked:
                _asked(self._child, self._tube, {"close": True})
        finally:
            self._child.give_back(self._tube)


def _asked(
    child: _Child, tube: Tube, order: Document, download: Download | None = None
) -> Document:
    """The answer to an order. Raises what the process met, and Unavailable when it ended."""
    try:
        tube.send(order)
        answer = _answer(tube, download)
    except OSError:
        answer = None
    if answer is None:
        child.process.kill()
        child.process.wait()
        raise Unavailable("the process that fetches has ended")
    if download is not None:
        download.received_bytes = int(answer["received"])
    if "error" in answer:
        raise wire.error_from(answer["error"])
    return answer


def _answer(tube: Tube, download: Download | None) -> Document | None:
    """Waits for it, and says once when it is enough; then it comes at the next chunk."""
    told = False
    while True:
        try:
            return tube.receive()
        except TimeoutError:
            if download is not None and download.stop.is_set() and not told:
                tube.send({"stop": True})
                told = True

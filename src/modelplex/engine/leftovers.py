"""Containers that have lost their instance: found by their label, and removed.

    python -I -S leftovers.py SOCKET INSTANCE DESCRIPTOR PLATFORM

A container is the engine's child, not ours: no parent-death signal reaches it. An instance removes
its own at its end and, if it was killed, at its next start; control does so for an instance that
is given up. For the rest there is the watch, a process beside each container: it removes the
container at once when its instance or the platform dies. This file is also run alone, so it imports
nothing of ours.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from typing import Any
from urllib.parse import quote

LABEL = "modelplex.instance"  # its value: the instance's id
TIMEOUT_S = 10.0  # for any one answer of the engine, a forced removal among them
LOOK_S = 0.2  # between two looks
SWEEP_S = 20.0  # after which the watch gives up on an engine that does not answer
DONE = b"."  # the word that there is nothing left to watch


def sweep(url: str, instance: str) -> list[str]:
    """Remove all containers of an instance, running or not; their ids. Blocks.

    Raises OSError and http.client.HTTPException when the engine cannot be asked.
    """
    path = url.removeprefix("unix://")
    filters = quote(json.dumps({"label": [f"{LABEL}={instance}"]}))
    found = [row["Id"] for row in _ask(path, "GET", f"/containers/json?all=1&filters={filters}")]
    for each in found:
        _ask(path, "DELETE", f"/containers/{each}?force=1&v=1")
    return found


class Watch:
    """The instance's side: a process that outlives it by a moment."""

    def __init__(self, url: str, instance: str, platform: int) -> None:
        """Begins to watch. `platform` is a pidfd of the process that this one belongs to."""
        read_end, self._pipe = os.pipe()
        path = url.removeprefix("unix://")
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, path, instance, str(read_end), str(platform)],
            pass_fds=[read_end, platform],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(read_end)

    def close(self, *, removed: bool) -> None:
        """End the watch; unless the container was `removed`, the watch removes it. Blocks."""
        if removed:
            with contextlib.suppress(BrokenPipeError):
                os.write(self._pipe, DONE)
        os.close(self._pipe)
        try:
            self._process.wait(SWEEP_S + TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def main(path: str, instance: str, descriptor: int, platform: int) -> None:
    """The watch's side: wait for the end of whoever it was started by, then remove."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    ready = select.select([descriptor, platform], [], [])[0]
    if descriptor in ready and os.read(descriptor, 1) == DONE:
        return
    deadline, empty = time.monotonic() + SWEEP_S, 0
    while empty < 2 and time.monotonic() < deadline:  # one may be in the making at the first look
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            empty = 0 if sweep(path, instance) else empty + 1
        time.sleep(LOOK_S)


def _ask(path: str, method: str, target: str) -> Any:
    """The engine's answer out of JSON; None for an empty one, or for what is not there any more."""
    connection = http.client.HTTPConnection("localhost", timeout=TIMEOUT_S)
    with contextlib.closing(connection):
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(TIMEOUT_S)
        connection.sock.connect(path)
        connection.request(method, target)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status in (404, 409):  # gone, or being removed already
            return None
        if answer.status >= 300:
            raise http.client.HTTPException(f"{method} {target}: {answer.status} {body[:500]!r}")
        return json.loads(body) if body else None


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))

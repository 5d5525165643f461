"""One side of the comparison, as the measurement sees it, whatever runs behind it."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.model_server import tree
from benchmarks.path.costs import Roles
from benchmarks.path.load import Ask

ASK_TIMEOUT_S = 30.0
END_TIMEOUT_S = 30.0


class Unavailable(Exception):
    """A side cannot be measured here; the text says why, and what to do."""


@dataclasses.dataclass(frozen=True, slots=True)
class Side:
    """A running server.

    `ask` makes the request for a model's number and a body; `load` brings models up to that number
    into memory, and is None where that is not measured. `ours` are processes of this Python, whose
    allocations can be counted and whose functions have names in `profile.py`.
    """

    name: str
    port: int
    ask: Callable[[int, bytes], Ask]
    roles: Callable[[], Roles]
    load: Callable[[int], None] | None = None
    ours: bool = False


def call(port: int, method: str, path: str, body: bytes = b"", **fields: str) -> tuple[int, bytes]:
    """One request on a connection of its own; OSError when nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ASK_TIMEOUT_S)
    try:
        headers = {name.replace("_", "-"): value for name, value in fields.items()}
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def check(side: Side, number: int) -> None:
    """Asks a model once; AssertionError unless the answer holds what was sent."""
    body = b"0" * 24 + b"is anybody there"
    path, headers, sent = side.ask(number, body)
    fields = dict(header.split(": ", 1) for header in headers)
    status, answer = call(side.port, "POST", path, sent, **fields)
    assert status == 200, f"{side.name}: model {number} answered {status}: {answer[:500]!r}"
    assert body in answer, f"{side.name}: model {number} answered something else: {answer[:500]!r}"


def spawn(
    argv: Sequence[str], folder: Path, variables: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """A server in a folder and a process group of its own; it writes to the file `output` there."""
    with (folder / "output").open("wb") as output:
        return subprocess.Popen(
            argv,
            cwd=folder,
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def await_answer(
    process: subprocess.Popen[bytes], port: int, path: str, folder: Path, limit_s: float
) -> None:
    """Waits for a success at a path; Unavailable with the end of its output if it never comes."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if call(port, "GET", path)[0] == 200:
                return
        except (OSError, http.client.HTTPException):
            pass
        time.sleep(0.1)
    said = (folder / "output").read_text(errors="replace")[-800:]
    raise Unavailable(f"did not start within {limit_s:.0f} s: {said}")


def end(process: subprocess.Popen[bytes]) -> None:
    """The server, and whatever it leaves behind: most peers leave their workers."""
    family = tree(process.pid)
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    finally:
        for pid in family:
            _kill(pid)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)

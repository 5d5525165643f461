"""Many connections: idle ones, slow senders and slow readers, and normal traffic beside them.

Each crowd is opened against the whole platform and against Multi Model Server, whose front is held
against our gateway's. Measured from outside, by /proc: memory (PSS) of the front process and of the
whole server before the crowd and with it, the front's CPU time while it has nothing else to do, and
what `wrk` sees of normal requests meanwhile. The crowds:

* idle: each connection has had one answer, and is kept;
* slow senders: each has begun a request of 6 MB, and sends on at a trickle;
* slow readers: each has asked for an answer of 6 MB, and takes none of it.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks import model_server
from benchmarks.model_server import tree
from benchmarks.sides import Load, running_platform, signed_headers, wrk
from modelplex.workers.process import pss_bytes
from tests.support.models import make_archive, make_image
from tests.support.processes import processes_of

HANDLER = """
def handle(data, context):
    if data is None:
        return None
    body = data[0]["body"]
    return [bytes(6_000_000) if bytes(body) == b"big" else body]
"""
MIB = 1024 * 1024
LARGE = 6_000_000  # bytes of a slow sender's body, and of a slow reader's answer
PIECE = 4096  # bytes that a slow sender sends at a time,
PAUSE_S = 1.0  # so often
BEGIN = 32 * 1024  # bytes of its body that it sends at once
NORMAL = b"x" * 1024  # body of the traffic beside
CONNECTIONS, SECONDS = 8, 5  # of wrk
QUIET_S = 3.0  # how long the crowd alone is looked at
ANSWERS_S = 60.0  # for the answers of all slow readers
ANSWER_S = 30.0  # for the one answer that an idle connection gets


@dataclass(frozen=True, slots=True)
class Side:
    """One running server."""

    name: str
    address: tuple[str, int]
    path: str
    front: Callable[[], int]  # the process that clients are connected to
    family: Callable[[], Sequence[int]]  # all its processes
    headers: Callable[[bytes], list[str]]  # of a POST with this body

    def request(self, body: bytes) -> bytes:
        """The whole request as bytes."""
        lines = [f"POST {self.path} HTTP/1.1", f"Content-Length: {len(body)}"]
        lines += [h for h in self.headers(body) if not h.lower().startswith("content-length")]
        if not any(line.lower().startswith("host:") for line in lines):
            lines.append(f"Host: {self.address[0]}:{self.address[1]}")
        return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass(frozen=True, slots=True)
class Seen:
    """What a crowd did to a server."""

    opened: int
    front_mib: float  # added to the front
    all_mib: float  # added to all processes
    quiet_ms: float  # CPU milliseconds per second of the front, with the crowd alone
    normal: Load | None  # None: normal requests failed


def run(options: Sequence[str] = ()) -> str:
    """Measure; a Markdown section."""
    parser = argparse.ArgumentParser(prog="benchmarks connections")
    parser.add_argument("--idle", type=int, default=10_000)
    parser.add_argument("--slow", type=int, default=1_000)
    wish = parser.parse_args(list(options))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    rows = []
    for running in (_platform, _peer):
        with running() as side:
            if side is not None:
                rows += [_row(side, *line) for line in _measured(side, wish.idle, wish.slow)]
    title = "server | crowd | connections | front MiB | per connection KiB | all MiB"
    title += " | front ms/s | normal /s | p50 ms | p99 ms"
    rule = "|---|---|--:" + "|--:" * 7 + "|"
    about = f"Added by the crowd; normal traffic: 1 KB, {CONNECTIONS} connections of `wrk -t1`."
    return "\n".join(["## Many connections", "", about, "", f"| {title} |", rule, *rows, ""])


def _measured(side: Side, idle: int, slow: int) -> Iterator[tuple[str, Seen]]:
    sent = side.request(b"x" * LARGE)
    begun = sent[: len(sent) - LARGE + BEGIN]
    small, big = side.request(NORMAL), side.request(b"big")
    yield "none", _with(side, [])
    yield "idle", _with(side, _opened(side, idle, small, answered=True), idle=True)
    yield "slow senders", _with(side, _opened(side, slow, begun), trickle=True)
    yield "slow readers", _with(side, _opened(side, slow, big, narrow=True))


def _opened(
    side: Side, count: int, first: bytes, *, answered: bool = False, narrow: bool = False
) -> Iterator[socket.socket]:
    """Connections, each with its first bytes sent."""
    for _ in range(count):
        client = socket.socket()
        if narrow:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(ANSWER_S)
        client.connect(side.address)
        client.sendall(first)
        if answered:
            client.recv(65536)
        yield client


def _with(
    side: Side,
    crowd: Iterator[socket.socket] | list[socket.socket],
    *,
    trickle: bool = False,
    idle: bool = False,
) -> Seen:
    """Opens a crowd, looks at the server, and ends the crowd."""
    fronts, everybody = _pss([side.front()]), _pss(side.family())
    sockets: list[socket.socket] = []
    done = threading.Event()
    sending = threading.Thread(target=_trickle, args=(sockets, done))
    try:
        sockets.extend(crowd)
        if trickle:
            sending.start()
        elif not idle:
            _await_answers(sockets)
        before = _cpu_ms(side.front())
        time.sleep(QUIET_S)
        quiet = (_cpu_ms(side.front()) - before) / QUIET_S
        normal = _normal(side)
        front, all_of_it = _pss([side.front()]), _pss(side.family())
    finally:
        done.set()
        if sending.is_alive():
            sending.join()
        for client in sockets:
            client.close()
    return Seen(len(sockets), front - fronts, all_of_it - everybody, quiet, normal)


def _await_answers(sockets: list[socket.socket]) -> None:
    """Until every reader's answer is made, or it was sent away; what is read stays where it is."""
    deadline = time.monotonic() + ANSWERS_S
    for client in sockets:
        client.settimeout(max(0.01, deadline - time.monotonic()))
        with suppress(OSError):
            client.recv(1, socket.MSG_PEEK)


def _trickle(sockets: list[socket.socket], done: threading.Event) -> None:
    """Sends a little on every connection that takes it, again and again."""
    for client in sockets:
        client.setblocking(False)
    while not done.wait(PAUSE_S):
        for client in sockets:
            try:
                client.send(b"x" * PIECE)
            except OSError:  # it takes nothing now, or was sent away
                continue


def _normal(side: Side) -> Load | None:
    url = f"http://{side.address[0]}:{side.address[1]}{side.path}"
    try:
        return wrk(url, side.headers(NORMAL), NORMAL, CONNECTIONS, SECONDS)
    except AssertionError:
        return None


def _row(side: Side, crowd: str, seen: Seen) -> str:
    each = seen.front_mib * 1024 / seen.opened if seen.opened else 0.0
    load = seen.normal
    normal = f"{load.rate:,.0f} | {load.p50_ms:.2f} | {load.p99_ms:.2f}" if load else "failed | |"
    return (
        f"| {side.name} | {crowd} | {seen.opened:,} | {seen.front_mib:.1f} | {each:.2f} "
        f"| {seen.all_mib:.1f} | {seen.quiet_ms:.1f} | {normal} |"
    )


def _pss(pids: Sequence[int]) -> float:
    """MiB."""
    return sum(map(pss_bytes, pids)) / MIB


def _cpu_ms(pid: int) -> float:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e6


# -- the two sides --------------------------------------------------------------------------------


@contextmanager
def _platform() -> Iterator[Side]:
    """The whole platform with one echo endpoint, and one gateway."""
    with running_platform() as platform:
        image = make_image(platform.data.with_name("echo"), HANDLER)
        platform.cli("build", "-t", "echo", str(image))
        endpoint = platform.deploy({"m.tar.gz": make_archive({"a": "b"})}, image="echo")
        path = f"/endpoints/{endpoint.name}/invocations"
        target = {"X-Amzn-SageMaker-Target-Model": "m.tar.gz"}

        def front() -> int:
            argvs = processes_of(platform.data).items()
            return next(pid for pid, argv in argvs if "-m modelplex.gateway" in argv)

        yield Side(
            "modelplex",
            ("127.0.0.1", platform.port),
            path,
            front,
            lambda: list(processes_of(platform.data)),
            lambda body: signed_headers(platform, path, target, body),
        )


@contextmanager
def _peer() -> Iterator[Side | None]:
    """Multi Model Server with the same model; None where it is not installed (`make peers`)."""
    binary = Path(".venv-peers/bin/multi-model-server").absolute()
    if not binary.exists() or shutil.which("java") is None:
        yield None
        return
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="connections-"))
        store = Path(folder) / "store"
        _write_model(store / "echo")
        mms = stack.enter_context(model_server.running("MMS", binary, store))
        mms.load("m", "echo")
        pids = tree(mms.process.pid)
        java = next(pid for pid in pids if "java" in Path(f"/proc/{pid}/comm").read_text())
        yield Side(
            "MMS 1.1.11",
            ("127.0.0.1", mms.port),
            "/models/m/invoke",
            lambda: java,
            lambda: tree(mms.process.pid),
            lambda _: [],
        )


def _write_model(folder: Path) -> None:
    """The handler as a model of MMS."""
    (folder / "MAR-INF").mkdir(parents=True)
    (folder / "handler.py").write_text(HANDLER)
    (folder / "MAR-INF" / "MANIFEST.json").write_text(
        '{"model": {"modelName": "echo", "handler": "handler.py:handle"}}'
    )

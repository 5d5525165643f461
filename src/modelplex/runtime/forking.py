"""Forks workers when the host says so: what a zygote and a template have in common.

    FORK (with two descriptors) -> FORKED | FORK_FAILED     REAP -> REAPED

A dead worker is reaped only when the host orders it. Until then its pid belongs to nobody else, so
the host can signal and watch it by number.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import traceback
from typing import Any, Callable

from modelplex.runtime import frames, lifeline
from modelplex.runtime.link import Link, OrderLink

Life = Callable[[socket.socket, int], None]  # its connection, and the largest body on it


def serve(link: OrderLink, life: Life, threads_max: int) -> None:
    """Carries out orders until the host closes the connection. Each child lives `life`.

    With more threads than `threads_max` (0: no limit) a fork would not be a sound process, and is
    refused.
    """
    while True:
        order = link.receive()
        if order is None:
            return
        if order.kind == frames.FORK:
            _fork(link, order, life, threads_max)
        elif order.kind == frames.REAP:
            _reap(link, order)


def threads() -> int:
    """How many threads this process has, those of C libraries too."""
    return len(os.listdir("/proc/self/task"))


def end_with(function: Any, *arguments: Any) -> None:
    """Runs `function` as the rest of this process, which never returns from here."""
    code = 1
    try:
        function(*arguments)
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
    except MemoryError:
        code = frames.EXIT_OUT_OF_MEMORY
    except BaseException:  # the last line of defence: say it in the log and end
        traceback.print_exc()
    finally:
        flush()
        os._exit(code & 0xFF)


def flush() -> None:
    """Writes what is printed but not written, lest a child writes it again."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # a handler may have closed or replaced it
            stream.flush()


def _fork(link: OrderLink, order: frames.Frame, life: Life, threads_max: int) -> None:
    connection, output = link.take_descriptors(2)
    values = order.values()
    body_bytes_max = int(values["body_bytes_max"])
    leads, begun = os.pipe()  # at its end when the child leads a group of its own, or is gone
    try:
        pid = _fork_soundly(threads_max)
    except OSError as error:
        link.report(frames.FORK_FAILED, order.request, reason=str(error))
    else:
        if pid == 0:
            link.close()
            os.close(leads)
            join_cgroup(values["cgroup"])
            end_with(_begin, life, connection, output, begun, body_bytes_max)
        os.close(begun)
        begun = -1
        os.read(leads, 1)  # a signal to this group must not hit a child that we have reported
        link.report(frames.FORKED, order.request, pid=pid)
    finally:
        for descriptor in (connection, output, leads, begun):
            if descriptor >= 0:
                os.close(descriptor)


def join_cgroup(parent: str) -> None:
    """Moves this process into a new memory cgroup below `parent`, named after its pid.

    Only a single thread that moves itself needs no lock of the kernel's; to be moved by another
    process takes 10 ms. The host, which sets the limit, sees whether there is a group.
    """
    folder = os.path.join(parent, "w%d" % os.getpid())
    with contextlib.suppress(OSError):
        if parent:
            os.mkdir(folder)
            first = os.path.join(folder, "tasks")  # in the first version of cgroups
            path = first if os.path.exists(first) else os.path.join(folder, "cgroup.procs")
            with open(path, "w", encoding="ascii") as file:
                file.write("0")


def _fork_soundly(threads_max: int) -> int:
    count = threads()
    if 0 < threads_max < count:
        raise OSError(f"the process has {count} threads, which a fork of it would lack")
    flush()
    return os.fork()


def _reap(link: Link, order: frames.Frame) -> None:
    try:
        status: int | None = os.waitpid(int(order.values()["pid"]), 0)[1]
    except ChildProcessError:
        status = None
    link.report(frames.REAPED, order.request, status=status)


def _begin(life: Life, connection: int, output: int, begun: int, body_bytes_max: int) -> None:
    """In a process of its own: its own group and session, lifeline and output."""
    os.setsid()
    lifeline.lead_group()
    os.close(begun)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    os.environ["MODELPLEX_WORKER"] = str(os.getpid())
    _offer_to_oom_killer()
    life(socket.socket(fileno=connection), body_bytes_max)


def _offer_to_oom_killer() -> None:
    """When memory runs out, a worker is a better victim than the instance that can replace it."""
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("500")

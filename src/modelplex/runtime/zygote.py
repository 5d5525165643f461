"""The zygote: imports once what an image's models import, then forks a worker for each model.

It never computes and never starts a thread, so a fork of it is a sound process. It does what the
host orders, one order at a time, and ends when the host closes the connection:

    START -> READY | START_FAILED     FORK (with two descriptors) -> FORKED | FORK_FAILED
    REAP -> REAPED

A dead worker is reaped only when the host orders it. Until then its pid belongs to nobody else, so
the host can signal and watch it by number.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import resource
import signal
import socket
import sys
import traceback
from typing import Any

from modelplex.runtime import answers, frames, handlers, imports, lifeline, standin, worker
from modelplex.runtime.link import Link, OrderLink

ORDER_BYTES_MAX = 4 * imports.LEARNED_BYTES_MAX  # body of an order
_OUTPUT_TAIL_CHARS = 2000  # of a traceback, in the reason for a failed start


def main(control: int, pipe: int) -> None:
    """Serves the host on the socket `control`, for as long as it holds the pipe's other end."""
    lifeline.attach(pipe)
    os.register_at_fork(after_in_child=lifeline.attach_forked_child)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulthandler.enable()
    link = OrderLink(socket.socket(fileno=control), ORDER_BYTES_MAX)
    start = link.receive()
    if start is None or not _start(link, start):
        return
    while True:
        order = link.receive()
        if order is None:
            return
        if order.kind == frames.FORK:
            _fork(link, order, pipe)
        elif order.kind == frames.REAP:
            _reap(link, order)


def _start(link: Link, start: frames.Frame) -> bool:
    """Imports everything and tells the host what was learned, or why the image cannot be used."""
    settings = dict(start.meta)
    standin.offer()
    for failure in imports.preload(imports.unpack(start.body)):
        print(failure)
    error, learned = _try_handler(settings["handler"], settings["code"])
    if error:
        link.send(frames.START_FAILED, 0, [("reason", error)])
        return False
    for failure in imports.preload(learned):
        print(failure)
    imports.mark()
    gc.collect()
    gc.freeze()
    threads = len(os.listdir("/proc/self/task"))
    link.send(frames.READY, 0, [("threads", str(threads))], imports.pack(learned))
    return True


def _try_handler(handler: str, code: str) -> tuple[str, list[str]]:
    """Imports the image's handler in a process of its own: why that fails, what it imports.

    Not here, because a handler's module may keep state, start threads, or be named like a module
    that a model brings along.
    """
    ours, theirs = socket.socketpair()
    _flush()
    pid = os.fork()
    if pid == 0:
        ours.close()
        _end_with(_probe, Link(theirs, 0), handler, code)
    theirs.close()
    link = Link(ours, ORDER_BYTES_MAX)
    report = link.receive()
    link.close()
    status = os.waitpid(pid, 0)[1]
    if report is None:
        return f"importing the handler {handler!r} ended its process (wait status {status})", []
    return dict(report.meta)["reason"], imports.unpack(report.body)


def _probe(link: Link, handler: str, code: str) -> None:
    os.chdir(code)
    imports.mark()
    reason = ""
    try:
        handlers.set_path([code])
        handlers.import_handler(handler, code)
    except FileNotFoundError as error:
        # Perhaps a model's file, read by its bare name at import: each load will tell.
        print(f"importing the handler {handler!r} without a model: {answers.describe(error)}")
    except BaseException as error:  # whatever it is, the image cannot be used
        tail = traceback.format_exc()[-_OUTPUT_TAIL_CHARS:]
        reason = f"cannot import the handler {handler!r}: {answers.describe(error)}\n{tail}"
    learned = imports.pack(imports.learned([code]))
    link.send(frames.READY, 0, [("reason", reason)], learned)


def _fork(link: OrderLink, order: frames.Frame, pipe: int) -> None:
    connection, output = link.take_descriptors(2)
    body_bytes_max = int(dict(order.meta)["body_bytes_max"])
    _flush()
    try:
        pid = os.fork()
    except OSError as error:
        link.send(frames.FORK_FAILED, order.request, [("reason", str(error))])
    else:
        if pid == 0:
            link.close()
            _end_with(_become_worker, connection, output, pipe, body_bytes_max)
        link.send(frames.FORKED, order.request, [("pid", str(pid))])
    finally:
        os.close(connection)
        os.close(output)


def _reap(link: Link, order: frames.Frame) -> None:
    pid = int(dict(order.meta)["pid"])
    try:
        status = str(os.waitpid(pid, 0)[1])
    except ChildProcessError:
        status = ""
    link.send(frames.REAPED, order.request, [("status", status)])


def _become_worker(connection: int, output: int, pipe: int, body_bytes_max: int) -> None:
    """In a process of its own: its own group and session, lifeline, output and signals."""
    os.setsid()
    lifeline.attach(pipe)
    os.close(pipe)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.environ["MODELPLEX_WORKER"] = str(os.getpid())
    _offer_to_oom_killer()
    worker.run(socket.socket(fileno=connection), body_bytes_max)


def _offer_to_oom_killer() -> None:
    """When memory runs out, a worker is a better victim than the instance that can replace it."""
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("500")


def _end_with(function: Any, *arguments: Any) -> None:
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
        try:
            _flush()
        finally:
            os._exit(code & 0xFF)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()

"""The zygote: imports once what an image's models import, then forks a worker for each model.

It never computes and never starts a thread, so a fork of it is a sound process. It does what the
host orders, one order at a time, and ends when the host closes the connection:

    START -> READY | START_FAILED, then as in `forking.py`
"""

from __future__ import annotations

import faulthandler
import gc
import os
import resource
import socket
import traceback

from modelplex.runtime import (
    answers,
    forking,
    frames,
    handlers,
    imports,
    lifeline,
    permissions,
    standin,
    worker,
)
from modelplex.runtime.link import Link, OrderLink

ORDER_BYTES_MAX = 4 * imports.LEARNED_BYTES_MAX  # body of an order
_OUTPUT_TAIL_CHARS = 2000  # of a traceback, in the reason for a failed start


def main(control: int, pipe: int) -> None:
    """Serves the host on the socket `control`, for as long as it holds the pipe's other end."""
    lifeline.attach(pipe)
    os.close(pipe)
    os.register_at_fork(after_in_child=lifeline.attach_forked_child)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulthandler.enable()
    link = OrderLink(socket.socket(fileno=control), ORDER_BYTES_MAX)
    start = link.receive()
    if start is not None and _start(link, start):
        forking.serve(link, worker.run, threads_max=0)


def _start(link: Link, start: frames.Frame) -> bool:
    """Imports everything and tells the host what was learned, or why the image cannot be used."""
    settings = start.values()
    if settings["obey_permissions"]:
        permissions.obey()
    standin.offer()
    for failure in imports.preload(imports.unpack(start.body)):
        print(failure)
    error = ""
    learned: list[str] = []
    if settings["handler"]:
        error, learned = _try_handler(settings["handler"], settings["code"])
    if error:
        link.report(frames.START_FAILED, reason=error)
        return False
    for failure in imports.preload(learned):
        print(failure)
    imports.mark()
    gc.collect()
    gc.freeze()
    link.report(frames.READY, 0, imports.pack(learned), threads=forking.threads())
    return True


def _try_handler(handler: str, code: str) -> tuple[str, list[str]]:
    """Imports the image's handler in a process of its own: why that fails, what it imports.

    Not here, because a handler's module may keep state, start threads, or be named like a module
    that a model brings along.
    """
    ours, theirs = socket.socketpair()
    forking.flush()
    pid = os.fork()
    if pid == 0:
        ours.close()
        forking.end_with(_probe, Link(theirs, 0), handler, code)
    theirs.close()
    link = Link(ours, ORDER_BYTES_MAX)
    report = link.receive()
    link.close()
    status = os.waitpid(pid, 0)[1]
    if report is None:
        return f"importing the handler {handler!r} ended its process (wait status {status})", []
    return str(report.values()["reason"]), imports.unpack(report.body)


def _probe(link: Link, handler: str, code: str) -> None:
    os.chdir(code)
    imports.mark()
    reason = ""
    try:
        handlers.set_path([code])
        handlers.import_handler(handler, [code])
    except FileNotFoundError as error:
        # Perhaps a model's file, read by its bare name at import: each load will tell.
        print(f"importing the handler {handler!r} without a model: {answers.describe(error)}")
    except BaseException as error:  # whatever it is, the image cannot be used
        tail = traceback.format_exc()[-_OUTPUT_TAIL_CHARS:]
        reason = f"cannot import the handler {handler!r}: {answers.describe(error)}\n{tail}"
    link.report(frames.READY, 0, imports.pack(imports.learned([code])), reason=reason)

"""The life of a worker: load one model, then answer one batch of requests after the other.

forked -> LOAD -> handler imported, model initialized -> LOADED -> (INVOKE+ -> ANSWER+)* -> end
                                                      -> LOAD_FAILED -> end

A template loads in the same way, and then forks workers that begin with their first INVOKE. With
SHARE instead of LOAD the process lives as `shared.py` says, with PREPARE as `prepare.py` does.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import sys
from functools import partial
from typing import Any

from modelplex.runtime import forking, frames, handlers, imports, memory, prepare, shared, twin
from modelplex.runtime.link import Link, OrderLink
from modelplex.runtime.model import Model, Order, answer, describe, load_failure


def run(sock: socket.socket, body_bytes_max: int) -> None:
    """Serves the host until it closes the connection. Returns or raises SystemExit to end."""
    _take_signals()
    link = Link(sock, body_bytes_max)
    frame = link.receive()
    if frame is None:
        return
    if frame.kind == frames.SHARE:
        _take_output("shared")
        _reseed()
        shared.serve(link, frame)
        return
    if frame.kind == frames.PREPARE:
        _take_output("prepare")
        prepare.serve(link, frame)
        return
    order = Order(**frame.values())
    _take_output(order.name)
    steps: dict[str, float] = {}
    try:
        model = _load(order, steps)
    except SystemExit:
        raise
    except BaseException as error:  # whatever it is, the host must hear of it
        failure = error
    else:
        if order.template:
            gc.collect()
            gc.freeze()
        news = imports.pack(imports.learned([order.folder, order.code]))
        asked = twin.asked_name(model.context)
        threads = forking.threads()
        link.report(frames.LOADED, 0, news, threads=threads, asked_name=asked, steps=steps)
        if order.template:
            life = partial(_serve_twin if order.twins else _serve_copy, model)
            forking.serve(OrderLink(sock, 0), life, threads_max=1)
        else:
            _serve(link, model)
        return
    status, message = load_failure(failure)
    link.report(frames.LOAD_FAILED, status=status, message=message)


def _load(order: Order, steps: dict[str, float]) -> Model:
    sys.dont_write_bytecode = True  # a model's folder holds what its archive held, nothing else
    os.chdir(order.folder)
    _reseed()
    if order.limit_bytes > 0:
        memory.limit_life(max(order.limit_bytes, order.later_bytes), order.slack_bytes)
        memory.limit_load(order.limit_bytes, order.slack_bytes)
    context = describe(order)
    entry = handlers.load(context, order.code, order.handler, order.fallback, steps)
    memory.lift()
    return Model(entry, context, order.response_bytes_max, order.decode)


def _serve_copy(model: Model, sock: socket.socket, body_bytes_max: int) -> None:
    """The life of a worker that is forked from a template."""
    _reseed()
    _serve(Link(sock, body_bytes_max), model)


def _serve_twin(model: Model, sock: socket.socket, body_bytes_max: int) -> None:
    """The same for a model of another name: LOAD says which."""
    _reseed()
    link = Link(sock, body_bytes_max)
    frame = link.receive()
    if frame is None:
        return
    try:
        twin.become(model.context, **frame.values())
    except OSError as error:
        link.report(frames.LOAD_FAILED, status=500, message=str(error))
        return
    link.report(frames.LOADED)
    _serve(link, model)


def _serve(link: Link, model: Model) -> None:
    while True:
        frame = link.receive()
        if frame is None:
            return
        batch = [frame]
        while frame.left:
            frame = link.receive()
            if frame is None:
                return
            batch.append(frame)
        if frame.kind == frames.SHARE_MEMORY:
            link.share()
            continue
        parts = answer(model, batch, link.arena)
        del frame, batch  # a large body is not kept until the next request
        link.send(parts)
        del parts


def _take_signals() -> None:
    """As a process has them at its start; what a handler changes, a template's copies inherit."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _take_output(name: str) -> None:
    """Line by line from here on, and logging as Multi Model Server sets it up for handlers."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure: Any = getattr(stream, "reconfigure")  # noqa: B009  absent from TextIO's type
        reconfigure(line_buffering=True, errors="backslashreplace")
    logging.basicConfig(stream=sys.stdout, format="%(message)s", level=logging.INFO)
    with open("/proc/self/comm", "w", encoding="utf-8", errors="replace") as file:
        file.write(("mp:" + name)[:15])


def _reseed() -> None:
    """Python reseeds `random` after a fork, NumPy does not: workers would share random numbers."""
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()

"""The life of a worker: load one model, then answer one batch of requests after the other.

forked -> LOAD -> handler imported, model initialized -> LOADED -> (INVOKE+ -> ANSWER+)* -> end
                                                      -> LOAD_FAILED -> end

A template loads in the same way, and then forks workers that begin with their first INVOKE.
"""

from __future__ import annotations

import gc
import logging
import os
import resource
import signal
import socket
import sys
import traceback
from functools import partial
from typing import Any, NamedTuple

from modelplex.runtime import answers, forking, frames, handlers, imports, inputs
from modelplex.runtime.context import Context
from modelplex.runtime.link import Link, OrderLink


class Order(NamedTuple):
    """What the host's LOAD says. Sizes in bytes; `limit_bytes` 0 means no limit.

    `later_bytes`, if more, is the limit once the model is loaded: predicting may take much more
    for a moment, and what stays is measured by the host.
    """

    name: str
    folder: str
    code: str
    handler: str
    fallback: str
    limit_bytes: int
    later_bytes: int
    slack_bytes: int
    response_bytes_max: int
    gpu_id: int | None
    batch_size: int
    decode: bool
    template: bool


class Model(NamedTuple):
    """What answers requests."""

    entry: handlers.Entry
    context: Context
    response_bytes_max: int
    decode: bool


def run(sock: socket.socket, body_bytes_max: int) -> None:
    """Serves the host until it closes the connection. Returns or raises SystemExit to end."""
    _take_signals()
    link = Link(sock, body_bytes_max)
    frame = link.receive()
    if frame is None:
        return
    order = Order(**frame.values())
    _take_output(order.name)
    try:
        model = _load(order)
    except SystemExit:
        raise
    except BaseException as error:  # whatever it is, the host must hear of it
        failure = error
    else:
        if order.template:
            gc.collect()
            gc.freeze()
        news = imports.pack(imports.learned([order.folder, order.code]))
        link.report(frames.LOADED, 0, news, threads=forking.threads())
        if order.template:
            forking.serve(OrderLink(sock, 0), partial(_serve_copy, model), threads_max=1)
        else:
            _serve(link, model)
        return
    _report_failure(link, failure)


def limit_memory(order: Order) -> None:
    """Lets the process allocate `limit_bytes` more than it has now, and `slack_bytes` besides.

    RLIMIT_DATA counts private writable memory whether touched or not (the kernel's VmData), so it
    is stricter than a budget in private bytes: the slack is for thread stacks and what allocators
    hold ready. Beyond it allocations fail: MemoryError in Python. Pages shared with the zygote do
    not count against the model, for they are in VmData already when the limit is taken from it.
    """
    with open("/proc/self/statm", "rb") as file:
        data_pages = int(file.read().split()[5])
    base = data_pages * resource.getpagesize() + order.slack_bytes
    limit, later = base + order.limit_bytes, base + max(order.limit_bytes, order.later_bytes)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard == resource.RLIM_INFINITY or limit < hard:
        ours = later if hard == resource.RLIM_INFINITY else min(later, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, ours))


def lift_limit() -> None:
    """From the limit for loading to the one for predicting."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))


def _load(order: Order) -> Model:
    sys.dont_write_bytecode = True  # a model's folder holds what its archive held, nothing else
    os.chdir(order.folder)
    _reseed()
    if order.limit_bytes > 0:
        limit_memory(order)
    manifest = handlers.read_manifest(order.folder)
    context = Context(order.name, order.folder, manifest, order.batch_size, order.gpu_id)
    entry = handlers.load(context, order.code, order.handler, order.fallback)
    lift_limit()
    return Model(entry, context, order.response_bytes_max, order.decode)


def _serve_copy(model: Model, sock: socket.socket, body_bytes_max: int) -> None:
    """The life of a worker that is forked from a template."""
    _reseed()
    _serve(Link(sock, body_bytes_max), model)


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
        parts = _answer(model, batch)
        del frame, batch  # a large body is not kept until the next request
        link.send(parts)
        del parts


def _answer(model: Model, batch: list[frames.Frame]) -> list[frames.Data]:
    """The answers to a batch as buffers."""
    entry_point, context, bytes_max, decode = model
    data: list[dict[str, Any]] = []
    requests: list[inputs.Request] = []
    refused: list[tuple[int, answers.Answer]] = []
    for frame in batch:
        try:
            entry, request = inputs.read(frame, decode)
        except (inputs.InputError, MemoryError) as error:
            refused.append((len(data) + len(refused), _refusal(error)))
        else:
            data.append(entry)
            requests.append(request)
    given: list[answers.Answer] = []
    if data:
        context.begin(requests)
        given = answers.ask(entry_point, context, data)
        context.emit_metrics()
    for at, answer in refused:  # in ascending order, so each comes to its place
        given.insert(at, answer)
    number = batch[0].request
    if len(given) == 1:
        return _encode(number, given[0], bytes_max, 0)
    parts: list[frames.Data] = []
    for at, answer in enumerate(given, 1):
        parts += _encode(number, answer, bytes_max, len(given) - at)
    return parts


def _refusal(error: Exception) -> answers.Answer:
    """The answer to a request that the handler does not get to see."""
    if isinstance(error, MemoryError):
        return answers.explain(error)
    return answers.failure(400, str(error), "input")


def _encode(number: int, answer: answers.Answer, bytes_max: int, left: int) -> list[frames.Data]:
    meta, body = answer
    if len(body) > bytes_max or len(meta) > frames.META_BYTES_MAX:
        meta, body = _too_large(answer, bytes_max)
    return frames.encode(frames.ANSWER, number, meta, body, left)


def _too_large(answer: answers.Answer, bytes_max: int) -> answers.Answer:
    """What is sent instead."""
    meta, body = answer
    text = f"the handler's answer has {len(body)} bytes; at most {bytes_max} are allowed"
    if len(body) <= bytes_max:
        text = f"the handler's response headers have {len(meta)} bytes, which is too much"
    return answers.failure(500, text, "invalid")


def _report_failure(link: Link, error: BaseException) -> None:
    if answers.lacks_memory(error):
        traceback.clear_frames(error.__traceback__)
        link.report(frames.LOAD_FAILED, status=507, message="Out of resources")
        return
    if not isinstance(error, handlers.HandlerError):
        answers.note(error)
    text = str(error) if isinstance(error, handlers.HandlerError) else answers.describe(error)
    message = text.encode("utf-8", "backslashreplace").decode("utf-8")
    link.report(frames.LOAD_FAILED, status=answers.prediction_code(error) or 500, message=message)


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

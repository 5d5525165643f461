"""The life of a worker: load one model, then answer one request after the other.

forked -> LOAD -> handler imported, model initialized -> LOADED -> (INVOKE -> ANSWER)* -> end
                                                      -> LOAD_FAILED -> end
"""

from __future__ import annotations

import logging
import os
import resource
import socket
import sys
import traceback
from typing import Any, NamedTuple

from modelplex.runtime import answers, frames, handlers, imports
from modelplex.runtime.context import Context
from modelplex.runtime.link import Link


class Order(NamedTuple):
    """What the host's LOAD says. Sizes in bytes; `limit_bytes` 0 means no limit.

    `later_bytes`, if more, is the limit once the model is loaded: predicting may take much more
    for a moment, and what stays is measured by the host.
    """

    name: str
    folder: str
    code: str
    handler: str
    limit_bytes: int
    later_bytes: int
    slack_bytes: int
    response_bytes_max: int


def run(sock: socket.socket, body_bytes_max: int) -> None:
    """Serves the host until it closes the connection. Returns or raises SystemExit to end."""
    link = Link(sock, body_bytes_max)
    frame = link.receive()
    if frame is None:
        return
    order = read_order(frame)
    _take_output(order.name)
    try:
        entry, context = _load(order)
    except SystemExit:
        raise
    except BaseException as error:  # whatever it is, the host must hear of it
        failure = error
    else:
        news = imports.pack(imports.learned([order.folder, order.code]))
        link.send(frames.LOADED, 0, (), news)
        _serve(link, entry, context, order.response_bytes_max)
        return
    _report_failure(link, failure)


def read_order(frame: frames.Frame) -> Order:
    """The host's LOAD as an order."""
    meta = dict(frame.meta)
    texts = (meta["name"], meta["folder"], meta["code"], meta["handler"])
    sizes = ("limit_bytes", "later_bytes", "slack_bytes", "response_bytes_max")
    return Order(*texts, *(int(meta[name]) for name in sizes))


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


def _load(order: Order) -> tuple[handlers.Entry, Context]:
    sys.dont_write_bytecode = True  # a model's folder holds what its archive held, nothing else
    os.chdir(order.folder)
    _reseed()
    if order.limit_bytes > 0:
        limit_memory(order)
    loaded = handlers.load(order.name, order.folder, order.code, order.handler)
    lift_limit()
    return loaded


def _serve(link: Link, entry: handlers.Entry, context: Context, response_bytes_max: int) -> None:
    while True:
        frame = link.receive()
        if frame is None:
            return
        answer = _invoke(entry, context, frame)
        if len(answer.body) > response_bytes_max:
            size = len(answer.body)
            text = (
                f"the handler's answer has {size} bytes; at most {response_bytes_max} are allowed"
            )
            answer = answers.failure(500, text)
        _send(link, frame.request, answer)
        del frame, answer  # a large body is not kept until the next request


def _invoke(entry: handlers.Entry, context: Context, frame: frames.Frame) -> answers.Answer:
    processor = context.begin(str(frame.request), frame.meta)
    answer = answers.ask(entry, context, processor, [{"body": frame.body}])
    context.emit_metrics()
    return answer


def _send(link: Link, request: int, answer: answers.Answer) -> None:
    first = [("status", str(answer.status)), ("phrase", answer.phrase)]
    try:
        link.send(frames.ANSWER, request, first + answer.headers, answer.body)
    except frames.FrameError as error:
        text = f"the handler's response headers cannot be sent: {error}"
        first = [("status", "500"), ("phrase", "")]
        link.send(frames.ANSWER, request, first, text.encode())


def _report_failure(link: Link, error: BaseException) -> None:
    if answers.lacks_memory(error):
        traceback.clear_frames(error.__traceback__)
        link.send(frames.LOAD_FAILED, 0, [("status", "507"), ("message", "Out of resources")])
        return
    if not isinstance(error, handlers.HandlerError):
        answers.note(error)
    message = str(error) if isinstance(error, handlers.HandlerError) else answers.describe(error)
    status = str(answers.prediction_code(error) or 500)
    link.send(frames.LOAD_FAILED, 0, [("status", status), ("message", message)])


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

"""The life of a worker that holds many models: it does one thing after the other, in order.

forked -> SHARE, then any number of LOAD, INVOKE and UNLOAD, each for the model whose number is in
the upper half of the frame's `request`, and each answered by one ANSWER.

A model that fails to load, or a handler that raises, hurts no other: only what ends the process
does. See `namespaces.py` for what models do not share.
"""

from __future__ import annotations

import gc
import sys
from typing import Any, Callable, NamedTuple

from modelplex.runtime import answers, frames, handlers, imports, memory
from modelplex.runtime.arena import Arena
from modelplex.runtime.link import Link
from modelplex.runtime.model import Model, Order, answer, describe, encode, load_failure
from modelplex.runtime.namespaces import Namespace, prepare

_LARGE_BYTES = 1024 * 1024  # a model that took more is searched for garbage at once
_GARBAGE_PART = 8  # otherwise when one in so many models has gone: a search costs a look at all


class _Resident(NamedTuple):
    model: Model
    namespace: Namespace
    took_bytes: int


def serve(link: Link, share: frames.Frame) -> None:
    """Does what the host asks until it closes the connection."""
    values = share.values()
    if values["later_bytes"] > 0:
        memory.limit_life(values["later_bytes"], values["slack_bytes"])
    sys.dont_write_bytecode = True
    prepare(values["code"])
    process = _Shared(_trimmer())
    link.send(frames.encode(frames.ANSWER, share.request))
    while True:
        frame = link.receive()
        if frame is None:
            return
        if frame.kind == frames.SHARE_MEMORY:
            link.share()
            continue
        parts = process.take(frame, link.arena)
        del frame  # a large body is not kept until the next request
        _flush()
        link.send(parts)
        del parts


class _Shared:
    """The models of this process, by number."""

    def __init__(self, trim: Callable[[], None]) -> None:
        self._models: dict[int, _Resident] = {}
        self._entered: Namespace | None = None
        self._gone = 0  # models, since garbage was last searched for
        self._trim = trim

    def take(self, frame: frames.Frame, arena: Arena | None) -> list[frames.Data]:
        """Carries out one order; returns its answer."""
        number = frame.request >> 16
        if frame.kind == frames.INVOKE:
            return self._invoke(self._models[number], frame, arena)
        if frame.kind == frames.LOAD:
            given = self._load(number, Order(**frame.values()))
        else:
            given = b"", b"%d" % self._unload(number)
        return encode(frame.request, given, frames.META_BYTES_MAX)

    def _invoke(
        self, resident: _Resident, frame: frames.Frame, arena: Arena | None
    ) -> list[frames.Data]:
        try:
            if resident.namespace is not self._entered:
                self._enter(resident.namespace)
            return answer(resident.model, [frame], arena)
        except (SystemExit, OSError) as error:
            explained = answers.explain(error)
            return encode(frame.request, explained, resident.model.response_bytes_max)

    def _load(self, number: int, order: Order) -> answers.Answer:
        before = memory.anonymous_bytes()
        self._enter(None)
        try:
            model, namespace = self._start(order)
        except BaseException as error:  # whatever it is, the host must hear of it
            status, message = load_failure(error)
            failure = answers.failure(status, message, "load")
            failed = self._entered
        else:
            news = imports.pack(imports.learned([order.folder, order.code]))
            took = memory.anonymous_bytes() - before
            self._models[number] = _Resident(model, namespace, took)
            return b"", news
        self._enter(None)
        if failed is not None:
            failed.close()
        self._tidy(memory.anonymous_bytes() - before)
        return failure

    def _start(self, order: Order) -> tuple[Model, Namespace]:
        context = describe(order)
        named, homes = handlers.choose(context, order.code, order.handler, order.fallback)
        namespace = Namespace(order.folder, order.code, named)
        self._enter(namespace)
        imports.mark()
        if order.limit_bytes > 0:
            memory.limit_load(order.limit_bytes, order.slack_bytes)
        try:
            module, attribute = handlers.import_handler(named, homes)
            entry = handlers.start(module, attribute, context)
        finally:
            memory.lift()
        return Model(entry, context, order.response_bytes_max, order.decode), namespace

    def _unload(self, number: int) -> int:
        """Returns the bytes that came back at once; what is garbage comes back later."""
        before = memory.anonymous_bytes()
        model, namespace, took_bytes = self._models.pop(number)
        if namespace is self._entered:
            self._enter(None)
        del model  # first of all: what ends with it may want the module's names
        namespace.close()
        self._tidy(took_bytes)
        return max(0, before - memory.anonymous_bytes())

    def _enter(self, namespace: Namespace | None) -> None:
        """Leaves the namespace of the model before, which is entered until another comes."""
        if self._entered is not None:
            self._entered.leave()
            self._entered = None
        if namespace is not None:
            namespace.enter()
            self._entered = namespace

    def _tidy(self, took_bytes: int) -> None:
        """Gives back what models have left, if that is much."""
        self._gone += 1
        if took_bytes > _LARGE_BYTES or self._gone * _GARBAGE_PART > len(self._models):
            self._gone = 0
            gc.collect()
            self._trim()


def _flush() -> None:
    """What a model prints is written before its answer: the host tells by that whose it is."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except Exception:  # a handler has closed or replaced them
        return


def _trimmer() -> Callable[[], None]:
    """Makes the C library return free memory to the kernel, where it can."""
    try:
        import ctypes  # noqa: PLC0415  not every Python has it

        trim: Any = ctypes.CDLL(None).malloc_trim
    except (ImportError, OSError, AttributeError):
        return lambda: None
    return lambda: trim(0)

"""One life of the process that fetches: orders to it, and its answers, on one socket."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import socket
import subprocess
import sys
from pathlib import Path

from modelplex.instance.artifacts import wire
from modelplex.instance.artifacts.places import Found
from modelplex.instance.artifacts.preparation import Prepare
from modelplex.instance.artifacts.wire import Document, Storage
from modelplex.instance.tasks import Tasks

log = logging.getLogger(__name__)

_MODULE = "modelplex.instance.artifacts.fetching"
_GONE = "the process that fetches has ended"


class Ended(Exception):
    """The process has ended before it answered."""


class Child:
    """The process, from its start to its end."""

    def __init__(self, storage: Storage, cwd: Path, prepare: Prepare | None) -> None:
        """Raises OSError."""
        ours, theirs = socket.socketpair()
        with contextlib.ExitStack() as unless_started, theirs:
            unless_started.enter_context(ours)
            self._process = subprocess.Popen(
                [sys.executable, "-m", _MODULE, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                cwd=cwd,
                start_new_session=True,
            )
            unless_started.pop_all()
        self.ended = False
        self._prepare = prepare
        self._found: dict[str, Found] = {}
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._numbers = itertools.count()
        self._asked: dict[int, asyncio.Future[Document]] = {}
        self._tasks = Tasks()
        self._writer: asyncio.StreamWriter | None = None
        self._tasks.begin(self._listen(ours, storage))

    async def recovered(self) -> dict[str, Found]:
        """What was on the disk when it started. Raises OSError and Ended."""
        await asyncio.shield(self._ready)
        return self._found

    def number(self) -> int:
        """One for the next order."""
        return next(self._numbers)

    async def ask(self, number: int, order: Document) -> Document:
        """The answer to an order. Raises what the process met, and Ended."""
        if self.ended:
            raise Ended(_GONE)
        answered = self._asked[number] = asyncio.get_running_loop().create_future()
        self.tell({"id": number, **order})
        try:
            answer: Document = await answered
        finally:
            self._asked.pop(number, None)
        if "error" in answer:
            raise wire.error_from(answer["error"])
        return answer

    def tell(self, document: Document) -> None:
        """Something that has no answer. One that has ended does not hear it."""
        if self._writer is not None and not self.ended:
            self._writer.write(wire.line(document))

    def expect(self, number: int | None, within_s: float) -> None:
        """Take it for hung, and kill it, unless this order is answered by then; None: unless it has
        looked at the disk."""

        def look() -> None:
            waited_for = number in self._asked if number is not None else not self._ready.done()
            if waited_for:
                log.error("fetcher.hangs", extra={"seconds": within_s})
                self.kill()

        asyncio.get_running_loop().call_later(within_s, look)

    def kill(self) -> None:
        """It is gone when this returns, and whoever waits for an answer hears so soon."""
        self.ended = True
        self._process.kill()
        self._process.wait()

    # -- inside -------------------------------------------------------------------------------

    async def _listen(self, sock: socket.socket, storage: Storage) -> None:
        """Until it ends."""
        reader, self._writer = await asyncio.open_connection(sock=sock, limit=wire.LINE_BYTES_MAX)
        try:
            self._writer.write(wire.line(storage.document()))
            while line := await reader.readline():
                self._hear(json.loads(line))
        except (OSError, ValueError):  # it was killed, or says what nobody understands
            pass
        finally:
            self._bury()

    def _hear(self, told: Document) -> None:
        match told:
            case {"id": number}:
                answered = self._asked.get(number)
                if answered is not None and not answered.done():
                    answered.set_result(told)
            case {"prepare": number, "model": model, "folder": folder}:
                self._tasks.begin(self._prepared(number, model, Path(folder)))
            case {"found": [model, found]}:
                self._found[model] = Found(**found)
            case {"ready": _}:
                self._ready.set_result(None)
            case {"error": error}:
                self._ready.set_exception(wire.error_from(error))

    async def _prepared(self, number: int, model: str, folder: Path) -> None:
        assert self._prepare is not None
        self.tell({"prepared": number, "problem": await self._prepare(model, folder)})

    def _bury(self) -> None:
        """Nobody waits any longer."""
        self.kill()
        error = Ended(_GONE)
        for answered in self._asked.values():
            if not answered.done():
                answered.set_exception(error)
        if not self._ready.done():
            self._ready.set_exception(error)
        self._ready.exception()  # perhaps nobody waits for it
        if self._writer is not None:
            self._writer.close()

"""What a process prints, captured line by line without ever making it or the host wait long."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Callable

from modelplex.workers.limits import PoolLimits

log = logging.getLogger(__name__)

_READ_BYTES = 64 * 1024  # what a pipe holds
_DRAIN_READS = 16  # at the end: 1 MiB, should a stray process keep writing
_WINDOW_S = 1.0
_TAIL_LINES = 20


class Output:
    """The read end of a process's standard output and error, which it owns.

    Beyond `log_lines_max` lines in a second lines are read and dropped, and one line says how many.
    """

    def __init__(self, pipe: int, on_line: Callable[[str], None], limits: PoolLimits) -> None:
        os.set_blocking(pipe, False)
        self.tail: deque[str] = deque(maxlen=_TAIL_LINES)  # the last lines, for error messages
        self._pipe = pipe
        self._on_line = on_line
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._begun = b""  # a line without its end, at most log_line_bytes_max long
        self._cut = False  # the rest of that line is being dropped
        self._left = limits.log_lines_max  # lines that may still come in this window
        self._window_ends = 0.0
        self._dropped = 0
        self._notice: asyncio.TimerHandle | None = None
        self._closed = False
        self._loop.add_reader(pipe, self._read)

    def speak_for(self, on_line: Callable[[str], None]) -> None:
        """From here on lines go there, and so does the tail."""
        self._on_line = on_line
        self.tail.clear()

    def settle(self) -> None:
        """Takes what is in the pipe, as whole lines: somebody else's turn has come."""
        self._drain()
        if self._begun:
            self._end_line(b"")
        self._cut = False

    def close(self) -> None:
        """Takes what is still in the pipe, and closes it. May be called twice."""
        self._drain()
        self._shut()

    def _drain(self) -> None:
        for _ in range(_DRAIN_READS):
            if self._closed or not self._read():
                break

    def _read(self) -> bool:
        """Reads once; False when there is nothing more."""
        try:
            data = os.read(self._pipe, _READ_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self._shut()
            return False
        self._take(data)
        return True

    def _shut(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._pipe)
        os.close(self._pipe)
        if self._begun:
            self._end_line(b"")
        if self._notice is not None:
            self._notice.cancel()
            self._tell_dropped()

    def _take(self, data: bytes) -> None:
        """Splits no more lines than may still come, so that a flood costs little."""
        now = self._loop.time()
        if now >= self._window_ends:
            self._window_ends = now + _WINDOW_S
            self._left = self._limits.log_lines_max
        *lines, rest = data.split(b"\n", self._left)
        for line in lines:
            self._end_line(line)
        if self._left > 0:
            self._begin_line(rest)
        else:
            self._drop(rest)

    def _end_line(self, line: bytes) -> None:
        self._left -= 1
        if not self._cut:
            self._write(self._text(self._begun + line))
        self._begun, self._cut = b"", False

    def _begin_line(self, part: bytes) -> None:
        if self._cut:
            return
        self._begun += part
        if len(self._begun) > self._limits.log_line_bytes_max:
            self._end_line(b"")
            self._cut = True

    def _drop(self, data: bytes) -> None:
        if not data:
            return
        self._dropped += data.count(b"\n")
        self._begun, self._cut = b"", not data.endswith(b"\n")
        if self._notice is None:
            self._notice = self._loop.call_at(self._window_ends, self._tell_dropped)

    def _text(self, line: bytes) -> str:
        limit = self._limits.log_line_bytes_max
        text = line[:limit].decode("utf-8", "replace").rstrip("\r")
        return text if len(line) <= limit else f"{text} [cut after {limit} bytes]"

    def _tell_dropped(self) -> None:
        self._notice = None
        dropped, self._dropped = self._dropped, 0
        limit = self._limits.log_lines_max
        self._write(f"{dropped} lines dropped (more than {limit} in a second)")

    def _write(self, text: str) -> None:
        self.tail.append(text)
        try:
            self._on_line(text)
        except Exception:  # a full disk must not cost the model its life
            log.exception("output.line_lost")

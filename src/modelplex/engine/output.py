"""What a container prints, as lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator

LINE_BYTES_MAX = 16 * 1024  # of one line; the rest of a longer one is another line


class Lines:
    """Cuts chunks into lines, none longer than LINE_BYTES_MAX."""

    def __init__(self) -> None:
        self._rest = b""

    def take(self, chunk: bytes) -> Iterator[str]:
        """The lines that are whole with this chunk."""
        *whole, self._rest = (self._rest + chunk).split(b"\n")
        for line in whole:
            yield from _pieces(line)
        while len(self._rest) > LINE_BYTES_MAX:
            piece, self._rest = self._rest[:LINE_BYTES_MAX], self._rest[LINE_BYTES_MAX:]
            yield _text(piece)

    def end(self) -> Iterator[str]:
        """What was printed last, without an end of line."""
        if self._rest:
            yield _text(self._rest)
        self._rest = b""


def follow(chunks: Iterator[bytes], on_line: Callable[[str], None]) -> None:
    """Hand over every line of a stream until it ends. Blocks as long as `on_line` does."""
    lines = Lines()
    for chunk in chunks:
        for line in lines.take(chunk):
            on_line(line)
    for line in lines.end():
        on_line(line)


def _pieces(line: bytes) -> Iterator[str]:
    for start in range(0, max(1, len(line)), LINE_BYTES_MAX):
        yield _text(line[start : start + LINE_BYTES_MAX])


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace").rstrip("\r")

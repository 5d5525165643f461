"""Lines out of chunks."""

from __future__ import annotations

from modelplex.engine.output import LINE_BYTES_MAX, follow


def lines(*chunks: bytes) -> list[str]:
    """What is handed over."""
    found: list[str] = []
    follow(iter(chunks), found.append)
    return found


def test_lines_come_whole_however_the_chunks_are_cut() -> None:
    """Also the last one, which nobody ended, and characters that a chunk has half."""
    assert lines(b"a\nb", b"c\n", b"\n", "é".encode()[:1], "é".encode()[1:]) == ["a", "bc", "", "é"]
    assert lines(b"a\r\n\xff") == ["a", "�"]


def test_a_line_without_end_is_cut() -> None:
    """Memory is bounded whatever a container prints."""
    assert [len(line) for line in lines(b"x" * (2 * LINE_BYTES_MAX + 1))] == [
        LINE_BYTES_MAX,
        LINE_BYTES_MAX,
        1,
    ]
    assert [len(line) for line in lines(b"x" * LINE_BYTES_MAX + b"y\n")] == [LINE_BYTES_MAX, 1]

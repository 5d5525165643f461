"""Log files as streams of events."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modelplex.cloudwatch import files
from modelplex.cloudwatch.files import Rotated


def write(path: Path, *lines: tuple[int, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        for t, message in lines:
            file.write(json.dumps({"t": t, "m": message, "model": None}) + "\n")


def messages(
    folder: Path, stream: str, start: int = 0, end: int = 10**13, after: str = ""
) -> list[str]:
    events = files.streams(folder)[stream].events(start, end, after)
    return [event.message for event in events]


@pytest.mark.parametrize(
    ("file", "stream"),
    [
        ("AllTraffic~i-1.jsonl", "AllTraffic/i-1"),
        ("v~i-1~a%2Fb%7Ec.tar.gz.jsonl", "v/i-1/a/b~c.tar.gz"),
        ("v~i-1~%C3%A9.jsonl", "v/i-1/é"),
        ("v~i-1~x.jsonl.jsonl", "v/i-1/x.jsonl"),
    ],
)
def test_a_file_is_the_stream_that_its_name_encodes(tmp_path: Path, file: str, stream: str) -> None:
    """`~` for the slashes between parts, everything unusual percent-encoded."""
    write(tmp_path / file, (1, "x"))
    assert list(files.streams(tmp_path)) == [stream]


def test_rotated_files_are_one_stream_oldest_first(tmp_path: Path) -> None:
    """`.3` is older than `.1`, which is older than the file itself; strangers are left out."""
    write(tmp_path / "v~i.jsonl", (5, "e"), (6, "f"))
    write(tmp_path / "v~i.jsonl.1", (3, "c"), (4, "d"))
    write(tmp_path / "v~i.jsonl.3", (1, "a"), (2, "b"))
    (tmp_path / "notes.txt").write_text("no log")
    assert messages(tmp_path, "v/i") == list("abcdef")
    assert messages(tmp_path, "v/i", start=2, end=5) == ["b", "c", "d"]


def test_ids_order_events_and_stay_the_same_over_rotation(tmp_path: Path) -> None:
    """A page that ended before a rotation goes on after it."""
    path = tmp_path / "v~i.jsonl"
    write(path, (5, "a"), (5, "b"), (5, "c"))
    before = list(files.streams(tmp_path)["v/i"].events(0, 10))
    path.rename(tmp_path / "v~i.jsonl.1")
    write(path, (6, "d"))
    after = list(files.streams(tmp_path)["v/i"].events(0, 10))
    assert after[:3] == before
    assert [event.id for event in after] == sorted({event.id for event in after})
    assert all(len(event.id) == 56 and event.id.isdigit() for event in after)
    assert messages(tmp_path, "v/i", after=before[1].id) == ["c", "d"]


def test_half_written_and_damaged_lines_are_passed_over(tmp_path: Path) -> None:
    """A kill may cut a line short; the next line is whole again."""
    path = tmp_path / "v~i.jsonl"
    path.write_bytes(
        b'{"t": 1, "m": "a"}\n{"t": 2, "m\n\n[]\n{"m": "x"}\n{"t": 3, "m": "b"}\n{"t": 4, "m": "c'
    )
    assert messages(tmp_path, "v/i") == ["a", "b"]


def test_a_moment_in_a_large_file_is_found_without_reading_all_of_it(tmp_path: Path) -> None:
    """By bisection, to the exact event."""
    lines = [(1_000_000 + n // 3, f"line {n} " + "x" * 100) for n in range(20_000)]
    write(tmp_path / "v~i.jsonl", *lines)
    stream = files.streams(tmp_path)["v/i"]
    for n in (0, 1, 8_888, 19_998):
        first = next(iter(stream.events(1_000_000 + n // 3, 10**13)))
        assert first.message.startswith(f"line {n // 3 * 3} ")
    assert list(stream.events(2_000_000, 10**13)) == []


def test_a_file_that_is_replaced_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    """The reader starts over rather than mixing two files."""
    path = tmp_path / "v~i.jsonl"
    write(path, *[(n, "x" * 200) for n in range(1000)])
    events = files.streams(tmp_path)["v/i"].events(0, 10**13)
    next(events)
    path.rename(tmp_path / "v~i.jsonl.1")
    write(path, (10**6, "new"))
    with pytest.raises(Rotated):
        list(events)


def test_groups_are_folders_with_streams(tmp_path: Path) -> None:
    """A folder without log files is no group, and nothing outside the logs' folder is one."""
    write(tmp_path / "logs/aws/sagemaker/Endpoints/one/v~i.jsonl", (1, "a"))
    (tmp_path / "logs/aws/empty").mkdir()
    root = tmp_path / "logs"
    assert list(files.groups(root)) == ["/aws/sagemaker/Endpoints/one"]
    assert list(files.groups(tmp_path / "nowhere")) == []
    assert files.group_folder(root, "/aws/sagemaker/Endpoints/one") is not None
    for outside in ("/..", "/aws/../..", "//", "/aws//sagemaker", "/nothing", "/./aws"):
        assert files.group_folder(root, outside) is None

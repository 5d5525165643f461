"""JSON lines in files that control can find, of bounded size and number."""

from __future__ import annotations

import json
import os
from pathlib import Path

from modelplex.cloudwatch import files as logfiles
from modelplex.instance.logs.streams import KEPT, OPEN_MAX, Logs, stream_name

STREAM = stream_name("AllTraffic", "i-1")


def lines(path: Path) -> list[dict[str, object]]:
    """The file's lines, parsed."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_lines_carry_time_text_and_model(tmp_path: Path) -> None:
    """One object per line, the instance's own in a file without a model."""
    logs = Logs(tmp_path, STREAM, 10_000, clock=lambda: 1.5)
    logs.write(None, "started")
    logs.write("a/b.tar.gz", "said ünïcödé \udc80")
    logs.close()
    assert lines(tmp_path / "AllTraffic~i-1.jsonl") == [{"t": 1500, "m": "started", "model": None}]
    path = tmp_path / "AllTraffic~i-1~a%2Fb.tar.gz.jsonl"
    assert lines(path) == [{"t": 1500, "m": "said ünïcödé ?", "model": "a/b.tar.gz"}]


def test_control_reads_the_same_names(tmp_path: Path) -> None:
    """Control finds a stream for each model under the model's own name, odd characters and all."""
    models = ["m.tar.gz", "a/b~c d%.tar.gz", "ü/..x"]
    logs = Logs(tmp_path, STREAM, 10_000)
    for model in [None, *models]:
        logs.write(model, "line")
    logs.close()
    names = {f"AllTraffic/i-1/{model}" for model in models}
    assert logfiles.streams(tmp_path).keys() == {"AllTraffic/i-1"} | names


def test_names_too_long_for_a_file_stay_apart(tmp_path: Path) -> None:
    """1,024 characters of TargetModel fit no file's name; a hash keeps two of them apart."""
    logs = Logs(tmp_path, STREAM, 10_000)
    for end in "xy":
        logs.write("ü/" * 500 + end, "line")
    logs.close()
    assert logs.lost == 0
    assert len(list(tmp_path.iterdir())) == 2


def test_a_full_file_is_rotated(tmp_path: Path) -> None:
    """Three old files are kept, newest first, and no line is split or lost in between."""
    logs = Logs(tmp_path, STREAM, 400)
    for number in range(100):
        logs.write(None, f"line {number:03d}")
    logs.close()
    names = [f"AllTraffic~i-1.jsonl{end}" for end in (".3", ".2", ".1", "")]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    assert KEPT == 3
    kept = [entry["m"] for name in names for entry in lines(tmp_path / name)]
    assert kept == [f"line {number:03d}" for number in range(100 - len(kept), 100)]
    assert all((tmp_path / name).stat().st_size <= 400 for name in names)


def test_open_files_are_bounded(tmp_path: Path) -> None:
    """Thousands of models print, and only the latest files stay open."""
    logs = Logs(tmp_path, STREAM, 10_000)
    before = len(os.listdir("/proc/self/fd"))
    for number in range(10 * OPEN_MAX):
        logs.write(f"m{number % (2 * OPEN_MAX)}", "line")
    assert len(os.listdir("/proc/self/fd")) - before <= OPEN_MAX
    logs.close()
    assert len(list(tmp_path.iterdir())) == 2 * OPEN_MAX
    assert sum(len(lines(path)) for path in tmp_path.iterdir()) == 10 * OPEN_MAX


def test_a_folder_that_is_gone_costs_lines_and_nothing_else(tmp_path: Path) -> None:
    """A log that cannot be written must not stop an answer; the loss is counted."""
    logs = Logs(tmp_path / "logs", STREAM, 10_000)
    (tmp_path / "logs").rmdir()
    logs.write("m", "line")
    assert logs.lost == 1

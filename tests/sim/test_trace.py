"""CSV traces: what they tell, packed or not, and lines that cannot be played."""

from __future__ import annotations

import gzip
import lzma
from pathlib import Path

import pytest

from modelplex.sim import trace
from modelplex.sim.population import Kind
from modelplex.sim.scenario import read
from modelplex.sim.trace import BadTrace

KIND = Kind(1, size_bytes=5, handle_s=0.5)
TEXT = "time_s,model,size_bytes,handle_s\n100,a,1000,0.25\n100.5,b,,\n\n101,a,7,9\n"


def test_times_begin_at_nothing_and_the_first_line_of_a_model_describes_it(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(TEXT)
    models, arrivals = trace.read(path, KIND)
    assert list(arrivals) == [(0.0, 0), (0.5, 1), (1.0, 0)]
    assert (models.truth(0).disk_bytes, models.truth(0).handle_s) == (1000, 0.25)
    assert (models.truth(1).disk_bytes, models.truth(1).handle_s) == (5, 0.5)
    assert models.name(1) == "b"


def test_packed_traces_and_traces_without_a_header_are_read(tmp_path: Path) -> None:
    plain = b"1,a\n2,b\n"
    for name, data in (("t.gz", gzip.compress(plain)), ("t.xz", lzma.compress(plain))):
        (tmp_path / name).write_bytes(data)
        _, arrivals = trace.read(tmp_path / name, KIND)
        assert list(arrivals) == [(0.0, 0), (1.0, 1)]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("1,a\nx,b\n", "line 2"),
        ("1\n", "line 1"),
        ("2,a\n1,a\n", "line 2 .* earlier"),
        ("time_s,model,colour\n", "columns"),
    ],
)
def test_a_line_that_cannot_be_played_is_named(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(text)
    with pytest.raises(BadTrace, match=told):
        list(trace.read(path, KIND)[1])


def test_a_trace_is_played(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("".join(f"{n},m{n % 7}\n" for n in range(100)))
    report = read({"trace": str(path), "instances": {"memory_bytes": "1GB"}}).run()
    assert report.outcomes == {"cold": 7, "warm": 93}

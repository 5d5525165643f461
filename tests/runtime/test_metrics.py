"""Metrics in Multi Model Server's format."""

from __future__ import annotations

import re

import pytest

from modelplex.runtime.metrics import Dimension, MetricsStore


@pytest.fixture
def store() -> MetricsStore:
    """The metrics of one request."""
    return MetricsStore({0: "r-1"}, "m")


def test_the_lines(store, capsys):
    """One per metric, with its unit's long name; counters are summed, others replaced."""
    store.add_counter("Hits", 1)
    store.add_counter("Hits", 2, idx=0)
    store.add_time("Resize", 3.5)
    store.add_time("Resize", 4)
    store.add_size("Image", 7, unit="kB")
    store.add_percent("Load", 50)
    store.add_metric("Any", "x", unit="furlongs", dimensions=[Dimension("Side", "left")])
    store.add_error("Bad", "value")
    store.emit()
    lines = re.sub(r"#hostname:[^,]+,\d+", "H", capsys.readouterr().out).splitlines()
    model = "#ModelName:m,Level:Model|H,r-1"
    assert lines == [
        f"[METRICS]Hits.Count:3|{model}",
        f"[METRICS]Resize.Milliseconds:4|{model}",
        f"[METRICS]Image.Kilobytes:7|{model}",
        f"[METRICS]Load.Percent:50|{model}",
        f"[METRICS]Any.furlongs:x|#Side:left,{model[1:]}",
        "[METRICS]Bad.:value|#Level:Error|H",
    ]


def test_wrong_units_and_dimensions_are_refused(store):
    """As by MMS, with a ValueError."""
    with pytest.raises(ValueError, match="'h' is not one of ms, s"):
        store.add_time("t", 1, unit="h")
    with pytest.raises(ValueError, match="'TB' is not one of"):
        store.add_size("s", 1, unit="TB")
    with pytest.raises(ValueError, match="list of dimensions"):
        store.add_counter("c", 1, dimensions={"a": 1})


def test_a_value_that_cannot_be_written_costs_its_line_only(store, capsys):
    """Values come from handlers."""

    class Odd:
        def __format__(self, spec):
            raise RuntimeError

    store.add_metric("Odd", Odd())
    store.add_counter("Hits", 1)
    store.emit()
    first, second = capsys.readouterr().out.splitlines()
    assert first == "the metric 'Odd' cannot be written: RuntimeError"
    assert second.startswith("[METRICS]Hits.Count:1")

"""The picture is well-formed and has a curve for every run."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from modelplex.sim.picture import PANELS, draw, duration, seconds
from modelplex.sim.scenario import read

SVG = "{http://www.w3.org/2000/svg}"


def test_every_run_has_a_curve_in_every_panel() -> None:
    report = read({"requests": 500}).run()
    root = ElementTree.fromstring(draw("a < b & c", [("lru", report), ("gdsf", report)]))
    curves = root.findall(f"{SVG}polyline")
    assert len(curves) == 2 * len(PANELS)
    assert root.findtext(f"{SVG}title") == "a < b & c"
    for curve in curves:
        for point in curve.attrib["points"].split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= 900
            assert 0 <= y <= 900


def test_a_run_without_requests_can_be_drawn() -> None:
    report = read({"requests": 1, "duration_s": 0}).run()
    ElementTree.fromstring(draw("nothing", [("lru", report)]))


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0 ms"), (0.0123, "12.3 ms"), (2.5, "2.5 s"), (100.0, "100 s")]
)
def test_waits_are_short_to_read(value: float, text: str) -> None:
    assert seconds(value) == text


def test_moments_are_in_their_largest_unit() -> None:
    assert [duration(value) for value in (5, 300, 7200, 200_000)] == [
        "5 s",
        "5 min",
        "2 h",
        "2.31 d",
    ]

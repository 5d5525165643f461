"""The course of simulated worlds as one SVG picture, for light and dark pages."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from modelplex.sim.statistics import Report, Window

Run = tuple[str, Report]

WIDTH, LEFT, RIGHT, TOP = 900, 76, 20, 64
PANEL, GAP = 130, 44  # heights
COLOURS = ("#2b6cb0", "#c05621", "#2f855a", "#805ad5", "#b83280", "#718096")
STYLE = """
svg { font: 12px system-ui, sans-serif; }
.paper { fill: #ffffff; } text { fill: #1a202c; } .dim { fill: #5a6577; } .grid { stroke: #d5dbe3; }
@media (prefers-color-scheme: dark) {
  .paper { fill: #14181f; } text { fill: #e8ecf1; } .dim { fill: #9aa6b6; }
  .grid { stroke: #323b48; } .line { filter: brightness(1.45); }
}
"""


@dataclass(frozen=True, slots=True)
class Panel:
    """One curve per run."""

    title: str
    of: Callable[[Window], float]
    label: Callable[[float], str]
    logarithmic: bool = False
    least: float = 0.0  # the axis reaches at least up to this; its foot if it is logarithmic


def seconds(value: float) -> str:
    """0.0123 -> "12 ms"; three digits at most."""
    if value < 1:
        return f"{value * 1000:.3g} ms"
    return f"{value:.3g} s"


def duration(value: float) -> str:
    """A length of time in its largest unit, such as "2.5 h"."""
    length, unit = _unit(value)
    return f"{value / length:.3g} {unit}"


def _unit(value: float) -> tuple[float, str]:
    """The largest of which there are at least two: its seconds and its name."""
    units = ((86_400.0, "d"), (3600.0, "h"), (60.0, "min"))
    return next((unit for unit in units if value >= 2 * unit[0]), (1.0, "s"))


PANELS = (
    Panel("requests that found their model loaded", lambda w: w.share("warm"),
          lambda v: f"{v:.0%}", least=1.0),
    Panel("cold starts: the artifact had to be fetched", lambda w: w.share("cold"),
          lambda v: f"{100 * v:g}%", least=0.01),
    Panel("wait, 99th percentile", lambda w: w.wait_p99_s, seconds, True, 1e-3),
    Panel("memory in use, all instances", lambda w: w.memory_bytes / 1e9,
          lambda v: f"{v:.3g} GB", least=1e-3),
)  # fmt: skip


def draw(title: str, runs: Sequence[Run]) -> str:
    """A whole SVG document."""
    height = TOP + len(PANELS) * (PANEL + GAP) + 10
    end_s = max([report.seconds for _, report in runs] + [1.0])
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" role="img">',
        f"<title>{escape(title)}</title><style>{STYLE}</style>",
        f'<rect class="paper" width="{WIDTH}" height="{height}"/>',
        _text(LEFT, 24, title, 'font-size="15" font-weight="600"'),
        *_legend([name for name, _ in runs]),
    ]
    for number, panel in enumerate(PANELS):
        parts += _panel(panel, TOP + GAP / 2 + number * (PANEL + GAP), runs, end_s)
    return "\n".join([*parts, "</svg>", ""])


def _legend(names: list[str]) -> list[str]:
    parts, x = [], float(LEFT)
    for number, name in enumerate(names):
        colour = COLOURS[number % len(COLOURS)]
        parts.append(f'<rect class="line" x="{x}" y="38" width="14" height="4" fill="{colour}"/>')
        parts.append(_text(x + 20, 44, name))
        x += 40 + 7 * len(name)
    return parts


@dataclass(frozen=True, slots=True)
class Axes:
    """Where a value at a moment lies in the picture."""

    top: float
    ticks: list[float]
    end_s: float
    logarithmic: bool

    def x(self, moment: float) -> float:
        """From the left."""
        return LEFT + (WIDTH - LEFT - RIGHT) * min(moment, self.end_s) / self.end_s

    def y(self, value: float) -> float:
        """From above."""
        return self.top + PANEL * (1 - self._height(value))

    def _height(self, value: float) -> float:
        """From 0 at the foot of the panel to 1 at its top."""
        if not self.logarithmic:
            return value / self.ticks[-1]
        foot, top = math.log(self.ticks[0]), math.log(self.ticks[-1])
        return (math.log(max(value, self.ticks[0])) - foot) / (top - foot)


def _panel(panel: Panel, top: float, runs: Sequence[Run], end_s: float) -> list[str]:
    values = [panel.of(window) for _, report in runs for window in report.windows]
    ticks = _ticks(max([panel.least, *values]), panel)
    axes = Axes(top, ticks, end_s, panel.logarithmic)
    parts = [_text(LEFT, top - 8, panel.title, 'font-weight="600"')]
    for tick in ticks:
        y = f"{axes.y(tick):.1f}"
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
        style = 'class="dim" text-anchor="end"'
        parts.append(_text(LEFT - 8, axes.y(tick) + 4, panel.label(tick), style))
    length, unit = _unit(end_s)
    for number in _steps(end_s / length, 6):
        style = 'class="dim" text-anchor="middle"'
        x = axes.x(number * length)
        parts.append(_text(x, top + PANEL + 16, f"{number:g} {unit}", style))
    for number, (_, report) in enumerate(runs):
        parts.append(_curve(panel, axes, report, COLOURS[number % len(COLOURS)]))
    return parts


def _curve(panel: Panel, axes: Axes, report: Report, colour: str) -> str:
    """Steps: a window has one value."""
    points, windows = [], report.windows
    ends = [*(window.start_s for window in windows[1:]), report.seconds]
    for window, end in zip(windows, ends, strict=True):
        y = axes.y(panel.of(window))
        points += [f"{axes.x(moment):.1f},{y:.1f}" for moment in (window.start_s, end)]
    drawn = " ".join(points)
    return (
        f'<polyline class="line" fill="none" stroke="{colour}" stroke-width="1.6" '
        f'stroke-linejoin="round" points="{drawn}"/>'
    )


def _ticks(most: float, panel: Panel) -> list[float]:
    if not panel.logarithmic:
        steps = _steps(most, 4)
        step = steps[1]
        return [*steps, steps[-1] + step] if steps[-1] < most * 0.999 else steps
    decades = max(1, math.ceil(math.log10(most / panel.least) - 1e-9))
    return [panel.least * 10**power for power in range(decades + 1)]


def _steps(most: float, about: int) -> list[float]:
    """Round numbers from 0 up to `most`, about so many; at least 0 and one more."""
    rough = most / about
    power: float = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    count = max(1, int(most / step + 1e-9))
    return [step * number for number in range(count + 1)]


def _text(x: float, y: float, text: str, style: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(text)}</text>'

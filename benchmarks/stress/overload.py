"""More requests for one model than it can answer, then fewer: who is served, how soon, and when all
is as before.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.stress.flood import refusals
from benchmarks.stress.load import Seen, Stream
from benchmarks.stress.sides import Ours, Theirs, send

MODEL, HANDLE_S = "twenty", 0.02
CAPACITY_PER_S = 1 / HANDLE_S
FACTORS = (1.5, 3.0)
BEFORE_S, OVER_S, AFTER_S = 3.0, 20.0, 12.0


def measure(sides: Sequence[Ours | Theirs]) -> str:
    """A Markdown section."""
    rows = [
        "| load | server | answered ÷ capacity | refused | p50 / p99 ms in 5 s steps, in overload"
    ]
    rows[0] += " and after | normal again after s | refused with |"
    rows.append("|--:|---|--:|--:|---|--:|---|")
    for factor in FACTORS:
        rows += [_row(side.name, factor, _run(side, factor)) for side in sides]
    title = (
        f"### Overload\n\nOne model that sleeps {HANDLE_S * 1000:.0f} ms, so {CAPACITY_PER_S:.0f} "
        f"requests/s at best, is asked for at half of that for {BEFORE_S:.0f} s, at the load given "
        f"for {OVER_S:.0f} s, then at half for {AFTER_S:.0f} s; open loop. Times are of accepted "
        "requests; normal: every later answer within the slowest before the overload or five "
        "handler times."
    )
    return "\n".join([title, "", *rows, ""])


def _run(side: Ours | Theirs, factor: float) -> list[Seen]:
    requests = [side.request(MODEL)]
    over = BEFORE_S + OVER_S
    phases = [(0.5, 0.0, BEFORE_S), (factor, BEFORE_S, over), (0.5, over, over + AFTER_S)]
    return send(
        side, [Stream("over", requests, f * CAPACITY_PER_S, begin, end) for f, begin, end in phases]
    )


def _row(name: str, factor: float, seen: list[Seen]) -> str:
    over = BEFORE_S + OVER_S
    during = [each for each in seen if BEFORE_S <= each.due_s < over]
    ended = [
        each for each in seen if each.status == 200 and BEFORE_S <= each.due_s + each.took_s < over
    ]
    refused = [each for each in during if each.status != 200]
    moments = range(int(BEFORE_S), int(over + AFTER_S) - 1, 5)
    steps = [_times(seen, begin, begin + 5.0) for begin in moments]
    cells = [f"{factor:g} x", name, f"{len(ended) / OVER_S / CAPACITY_PER_S:.2f}"]
    cells += [f"{len(refused) / len(during):.0%}", ", ".join(steps)]
    return "| " + " | ".join([*cells, f"{_calm_after_s(seen):.1f}", refusals(seen)]) + " |"


def _times(seen: Sequence[Seen], begin: float, end: float) -> str:
    times = sorted(s.took_s for s in seen if s.status == 200 and begin <= s.due_s < end)
    if not times:
        return "-"
    return f"{times[len(times) // 2] * 1000:.0f} / {times[int(len(times) * 0.99)] * 1000:.0f}"


def _calm_after_s(seen: Sequence[Seen]) -> float:
    """From the end of the overload to the last request that was refused or late."""
    over = BEFORE_S + OVER_S
    before = max((s.took_s for s in seen if s.due_s < BEFORE_S), default=0.0)
    late_s = max(before, 5 * HANDLE_S)
    troubled = [s.due_s for s in seen if s.due_s >= over and (s.status != 200 or s.took_s > late_s)]
    return max(troubled, default=over) - over

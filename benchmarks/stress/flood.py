"""Twenty quick models at a steady rate, with and without a flood on one that takes two seconds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from benchmarks.stress.load import Flood, Seen, Stream
from benchmarks.stress.sides import SMALL, Ours, Theirs, send

RATE_PER_S = 200.0  # all twenty together
SECONDS = 8.0
CLIENTS = 200
SMALLS = ("sleeping", "burning")
FLOODS = ("", "slow-sleeping", "slow-burning")


def measure(sides: Sequence[Ours | Theirs]) -> str:
    """A Markdown section."""
    rows = ["| 20 models of 1 ms | flood | server | p50 ms | p99 ms | p99 ÷ without flood "]
    rows[0] += "| quick ones refused | flood answered | refused with |"
    rows.append("|---|---|---|--:|--:|--:|--:|--:|---|")
    for small in SMALLS:
        alone: dict[str, float] = {}
        for flooded in FLOODS:
            for side in sides:
                seen = _run(side, small, flooded)
                rows.append(_row(side.name, small, flooded, seen, alone))
    title = (
        f"### A flood on one model\n\n{RATE_PER_S:.0f} requests/s to {SMALL} models that sleep, or "
        f"use the processor, for 1 ms; {CLIENTS} clients that keep asking one that does so for "
        f"2 s, and pause for about 0.5 s when they are refused. {SECONDS:.0f} s each; open loop."
    )
    return "\n".join([title, "", *rows, ""])


def _run(side: Ours | Theirs, small: str, flooded: str) -> list[Seen]:
    requests = [side.request(f"{small}-{number}") for number in range(SMALL)]
    # The flood is there first, and stays until the last quick request is answered.
    stream = Stream("quick", requests, RATE_PER_S, 2.0, 2.0 + SECONDS)
    floods = [Flood("flood", side.request(flooded), CLIENTS)] if flooded else []
    seen = send(side, [stream], floods)
    if flooded:
        side.forget(flooded)
    return seen


def _row(name: str, small: str, flooded: str, seen: list[Seen], alone: dict[str, float]) -> str:
    quick = [each for each in seen if each.name == "quick"]
    times = sorted(each.took_s for each in quick if each.status == 200)
    p50, p99 = (times[int(len(times) * share)] * 1000 for share in (0.5, 0.99))
    alone.setdefault(name, p99)
    refused = len(quick) - len(times)
    flood = [each for each in seen if each.name == "flood"]
    answered = sum(each.status == 200 for each in flood)
    cells = [small, flooded or "none", name, f"{p50:.1f}", f"{p99:.1f}", f"{p99 / alone[name]:.1f}"]
    cells += [str(refused), f"{answered} of {len(flood)}", refusals(flood)]
    return "| " + " | ".join(cells) + " |"


def refusals(seen: Sequence[Seen]) -> str:
    """Statuses and errors of those without a good answer, and what they were told to wait."""
    bad = [each for each in seen if each.status != 200 and each.error != "still waiting"]
    if not bad:
        return "-"
    kinds = Counter(f"{each.status} {each.error}".strip() for each in bad)
    waits = sorted(each.retry_after_s for each in bad)
    told = f", Retry-After {waits[0]:.0f} to {waits[-1]:.0f} s" if waits[-1] else ""
    return ", ".join(f"{kind} ({count})" for kind, count in kinds.most_common()) + told

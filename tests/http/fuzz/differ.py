"""One random stream, asked in several ways that should make no difference."""

from __future__ import annotations

import random
from collections import Counter

from tests.http.fuzz import judge, streams
from tests.http.fuzz.sides import Sides


async def check(sides: Sides, seed: int, tally: Counter[str]) -> str:
    """What went wrong with the stream of this seed; "" if nothing did. `tally` counts."""
    rng = random.Random(seed)
    data = streams.requests(rng)
    seen, statuses, closed = expected = await sides.ask("ordinary", [data])
    ways = [
        ("ordinary", streams.cut(rng, data)),
        ("express", [data]),
        ("express", streams.cut(rng, data)),
        ("express", streams.messages(data)),
        ("ordinary", streams.messages(data)),
    ]
    if rng.random() < 0.02:
        ways.append((rng.choice(["ordinary", "express"]), [bytes((byte,)) for byte in data]))
    for side, pieces in ways:
        got = await sides.ask(side, pieces)
        if got != expected:
            return f"{side}, {pieces!r}:\n  {got!r}\n  ordinary, whole:\n  {expected!r}"
    verdict, compared = judge.disagreement(seen, data)
    tally.update(f"refused {status}" for status in statuses if status != 200)
    tally["streams"] += 1
    tally["answers"] += len(statuses)
    tally["requests read"] += len(seen)
    tally["requests compared with h11"] += compared
    tally["closed"] += closed
    return verdict and f"{data!r}:\n  {verdict}"

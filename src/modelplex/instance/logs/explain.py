"""`GET /explain?model=NAME`: where a model is and why, from residency and from its log."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from modelplex.core.keys import name_of
from modelplex.core.log import factlog
from modelplex.core.log.factlog import BadLog, Entry
from modelplex.core.log.story import Moment, Story, tell
from modelplex.core.model import Row, State
from modelplex.core.residency import Residency

MOMENTS_SHOWN = 20
GONE = ("unloaded", "dropped", "crashed")


def read(segments: list[Path], name: str) -> Story:
    """A model's story in Unix time. Reads files: to be called in a thread."""
    return tell(_entries(segments, name), name)


def of_model(residency: Residency, story: Story) -> dict[str, Any]:
    """What is known of a model as JSON values: bytes, seconds, Unix times."""
    clock, name = time.time() - time.monotonic(), story.name
    rows = [row for row in residency.snapshot() if name_of(row.model) == name]
    return {
        "model": name,
        "copies": [_copy(residency, row, clock) for row in rows],
        "since": _at(story.last("loaded", "fetched", "recovered", *GONE)),
        "last_fetch": _shown(story.last("fetched")),
        "last_load": _shown(story.last("loaded", "moved")),
        "last_unload": _shown(story.last("unloaded")),
        "last_drop": _shown(story.last("dropped")),
        "last_failure": _shown(story.last("fetch failed", "load failed", "crashed", "discarded")),
        "back_in_s": _back_in_s(residency, name),
        "requests": {"forwarded": story.forwarded, "refused": story.refused},
        "log_began_at": story.began_at,
        "moments": [_shown(moment) for moment in _newest(story)],
    }


def _entries(segments: list[Path], name: str) -> Iterator[Entry]:
    """The log's entries that may be about the model, in Unix time. Unreadable ones are left out."""
    needle = json.dumps(name)[1:-1]
    for path in segments:
        try:
            with path.open(encoding="utf-8", errors="surrogatepass", newline="\n") as lines:
                offset = factlog.read_head(lines.readline()).unix_offset
                found = (line for line in lines if needle in line or "\tReject[" in line)
                for entry in factlog.read(found):
                    yield Entry(entry.now + offset, entry.fact, entry.orders)
        except (OSError, BadLog):
            continue


def _copy(residency: Residency, row: Row, clock: float) -> dict[str, Any]:
    """One version of the model on this instance, and how many would have to leave before it."""
    times = {
        name: None if value is None else clock + value
        for name, value in (("last_used_at", row.last_used_at), ("loaded_at", row.loaded_at))
    }
    return {**asdict(row), "model": name_of(row.model), **times, **_turn(residency, row)}


def _turn(residency: Residency, row: Row) -> dict[str, int]:
    if row.state != State.LOADED.value:
        return {}
    here = residency.here
    before = 0
    for before, model in enumerate(here.memory_ranking.ascending()):  # noqa: B007 - counted
        if model.name == row.model:
            break
    return {"leaves_after": before, "loaded_models": len(here.loaded)}


def _back_in_s(residency: Residency, name: str) -> float | None:
    """How long a request would wait for it if it came now and nobody were in its way; None where
    nothing is known."""
    here = residency.here
    model = here.models.get(here.versions.serving(name))
    if model is None:
        return None
    if model.state is State.LOADED:
        return 0.0
    fetch_s = model.usage.fetch_s if model.state in (State.ABSENT, State.DROPPING) else 0.0
    return round(fetch_s + model.usage.load_s, 6) if model.usage.load_s else None


def _newest(story: Story) -> list[Moment]:
    return list(islice(reversed(story.moments), MOMENTS_SHOWN))[::-1]


def _shown(moment: Moment | None) -> dict[str, Any] | None:
    return None if moment is None else {"at": moment.at, "what": moment.what, **moment.facts}


def _at(moment: Moment | None) -> float | None:
    return None if moment is None else moment.at

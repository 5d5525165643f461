"""The tables at the end of the demo. Every figure is the platform's own, from one of

* the headers `x-modelplex-start` and `server-timing` of an answer of InvokeEndpoint,
* `/modelplex/endpoints/NAME/events`, `…/models` and `…/instances`.

Only medians and counts are taken here.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

from rich.table import Table

MIB = 1024 * 1024
STEPS = ("queue", "fetch", "load", "handle")
STARTS = {  # x-modelplex-start, and what it means
    "cold": "fetched from S3, then loaded",
    "disk": "on the instance's disk, loaded",
    "warm": "loaded already",
}

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """One answered request: which model, and what the answer's headers say about it."""

    model: str
    start: str
    milliseconds: dict[str, float]  # of each step

    @classmethod
    def of(cls, model: str, answer: Row) -> Request:
        """From the answer of boto3's `invoke_endpoint`."""
        headers = answer["ResponseMetadata"]["HTTPHeaders"]
        timings = (part.strip().split(";dur=") for part in headers["server-timing"].split(","))
        return cls(model, headers["x-modelplex-start"], {name: float(ms) for name, ms in timings})

    @property
    def total(self) -> float:
        """Milliseconds on the instance."""
        return sum(self.milliseconds.get(step, 0.0) for step in STEPS)


def short(model: str | None) -> str:
    """A model's name without what all of them have."""
    return (model or "").removeprefix("demo-subfolder/").removesuffix(".tar.gz")


def mib(size: float) -> str:
    """Bytes for people."""
    return f"{size / MIB:.1f}"


def columns(title: str, caption: str, *names: str) -> Table:
    """An empty table; names that begin with ">" are columns of figures."""
    table = Table(title=title, caption=caption, title_justify="left", caption_justify="left")
    for name in names:
        table.add_column(
            name.removeprefix(">"), justify="right" if name.startswith(">") else "left"
        )
    return table


def starts(requests: list[Request]) -> Table:
    """How requests found their model, and where the time went."""
    table = columns(
        "Requests, and where their time went",
        "Medians in ms, from the headers x-modelplex-start and server-timing of the answers.",
        *("the model was", "", ">requests", *(f">{step}" for step in STEPS), ">all", ">slowest"),
    )
    for start, meaning in STARTS.items():
        if chosen := [each for each in requests if each.start == start]:
            medians = [median_of(step, chosen) for step in STEPS]
            totals = [each.total for each in chosen]
            all_ms = f"{statistics.median(totals):.1f}"
            table.add_row(
                *(start, meaning, str(len(chosen)), *medians, all_ms, f"{max(totals):.1f}")
            )
    return table


def median_of(step: str, requests: list[Request]) -> str:
    """The median of one step in ms, or nothing where no request waited for it."""
    median = statistics.median(each.milliseconds.get(step, 0.0) for each in requests)
    return f"{median:.1f}" if median else "-"


def evictions(events: list[Row], shown: int = 12) -> Table:
    """Which models had to go, why, and what it brought."""
    gone = [event for event in events if event["event"] == "unloaded"]
    table = columns(
        f"Evictions: {len(gone)}, the last {min(shown, len(gone))} of them",
        "MiB, from the events `unloaded` of /modelplex/endpoints/NAME/events.",
        *("instance", "unloaded", "because of", "to load", ">freed", ">used before", ">after"),
    )
    for event in gone[-shown:]:
        sizes = (event[name] for name in ("freed_bytes", "used_bytes_before", "used_bytes_after"))
        table.add_row(
            *(event["instance"], short(event["model"]), event["reason"], short(event["for_model"])),
            *map(mib, sizes),
        )
    return table


def memory(before: list[Row], after: list[Row]) -> Table:
    """What each instance may use, and did use before the first and after the last request."""
    table = columns(
        "Memory of the instances",
        "MiB, from /modelplex/endpoints/NAME/instances. Image: its libraries, a part of used.",
        *("instance", ">budget", ">image", ">used before", ">used after", ">loads", ">evictions"),
    )
    began = {row["id"]: row for row in before}
    for row in after:
        sizes = [row["memory"]["budget"], row["memory"]["base"]]
        used = [began[row["id"]]["memory"]["used"], row["memory"]["used"]]
        counts = [str(row["counters"].get(name, 0)) for name in ("loaded", "unloaded")]
        table.add_row(row["id"], *map(mib, [*sizes, *used]), *counts)
    return table


def residents(models: list[Row], asked: dict[str, int], right: dict[str, int]) -> Table:
    """Every model: where it is now, and how well it did."""
    table = columns(
        "Models",
        "All but `right` from /modelplex/endpoints/NAME/models, as `modelplex models` shows it.",
        *("model", "instance", "state", ">MiB", ">hits", ">loads", ">right"),
    )
    for row in sorted(models, key=lambda row: str(row["model"])):
        name = row["model"]
        score = f"{right[name]} of {asked[name]}" if asked[name] else "-"
        size = mib(row["memory_bytes"]) if row["memory_bytes"] else "-"
        counts = [str(row["hits"]), str(row["loads"])]
        table.add_row(short(name), row["instance"], row["state"], size, *counts, score)
    return table

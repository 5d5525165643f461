"""The warm path: the whole platform, signatures verified, against a bare echo on the same cores.

Both sides answer the same body; `wrk` with one thread asks them in turn, several rounds, so that a
busy moment of the machine hits both. The ratio is of the medians; the spread is of the rounds. The
microseconds are CPU time per answer, by /proc: what a process costs whatever else is running.
"""

from __future__ import annotations

import shutil
from statistics import median

from benchmarks import floors
from benchmarks.sides import cpu_seconds, running_platform, signed_headers, wrk
from tests.support.models import make_archive, make_image

ROUNDS = 5
SECONDS = 3
SHAPES = [(1024, 1), (1024, 8), (1024, 32), (1024 * 1024, 8)]  # body bytes, connections
HANDLER = """
def handle(data, context):
    return None if data is None else [data[0]["body"]]
"""


def run() -> str:
    """Measure; a Markdown section."""
    if shutil.which("wrk") is None:
        return "## Warm path\n\nNot measured: wrk is not installed (apt-get install wrk).\n"
    rows = [
        "| body | connections | floor /s | platform /s | platform ÷ floor | spread "
        "| gateway µs | instance µs | worker µs |"
    ]
    rows.append("|---|--:|--:|--:|--:|---|--:|--:|--:|")
    with running_platform() as platform, floors.bare() as floor_url:
        image = make_image(platform.data.with_name("echo"), HANDLER)
        platform.cli("build", "-t", "echo", str(image))
        endpoint = platform.deploy({"m.tar.gz": make_archive({"a": "b"})}, image="echo")
        path = f"/endpoints/{endpoint.name}/invocations"
        for size, connections in SHAPES:
            body = b"x" * size
            pairs = []
            spent = []  # CPU seconds per answer, by process
            for _ in range(ROUNDS):
                headers = {"X-Amzn-SageMaker-Target-Model": "m.tar.gz"}
                signed = signed_headers(platform, path, headers, body)
                floor = wrk(floor_url, [], body, connections, SECONDS).rate
                before = cpu_seconds(platform)
                ours = wrk(platform.endpoint + path, signed, body, connections, SECONDS).rate
                after = cpu_seconds(platform)
                pairs.append((floor, ours))
                spent.append([(after[role] - before[role]) / (ours * SECONDS) for role in after])
            rows.append(_row(size, connections, pairs, spent))
    method = f"`wrk -t1`, {ROUNDS} rounds of {SECONDS} s each, in turn; floor: bare httptools echo."
    return "\n".join(["## Warm path", "", method, "", *rows, ""])


def _row(
    size: int, connections: int, pairs: list[tuple[float, float]], spent: list[list[float]]
) -> str:
    floor, ours = (median(side) for side in zip(*pairs, strict=True))
    costs = " | ".join(f"{median(column) * 1e6:.0f}" for column in zip(*spent, strict=True))
    ratios = [theirs[1] / theirs[0] for theirs in pairs]
    return (
        f"| {size // 1024} KB | {connections} | {floor:,.0f} | {ours:,.0f} | {ours / floor:.3f} "
        f"| {min(ratios):.3f} to {max(ratios):.3f} | {costs} |"
    )

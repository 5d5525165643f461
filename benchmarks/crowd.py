"""Many models in little memory: a store of 10,000, room for 200, and Zipf traffic from boto3.

Every answer says which model gave it, and has to be right. The memory of all workers and zygotes is
measured from outside, by /proc, against the instance's budget. Afterwards the same traffic, as the
instance recorded it, is played through the simulator, which is told nothing but what the log says
of sizes and durations; and once more the simulator forecasts from the traffic's parameters alone.
The log stays in the temporary folder as crowd-facts.log, to be replayed.
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

from benchmarks import forecast
from modelplex.workers.process import pss_bytes
from tests.support.models import make_archive, make_image
from tests.support.platform import Platform
from tests.support.processes import processes_of

HANDLER = """
import time
from pathlib import Path

STATE = {}


def handle(data, context):
    if data is None:
        STATE["name"] = Path("name.txt").read_text()
        STATE["weights"] = bytearray(Path("weights.bin").read_bytes())
        return None
    time.sleep(0.002)
    return [STATE["name"] + " " + bytes(data[0]["body"]).decode()]
"""
MIB = 1024 * 1024
SIZES = (16_000, 64_000, 256_000, 1_000_000, 4_000_000)  # of weights; the small ones are the most
SHARES = (40, 30, 20, 8, 2)
PROCESS_MIB = 3.2  # private memory of a worker besides its weights, for how much 200 models need
LOAD_S, FETCH_S, HANDLE_S = 0.016, 0.007, 0.003  # of an echo model, in a first trial
SAMPLE_S = 2.0
CLIENTS = 16
TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked of this run."""

    models: int
    room: int
    minutes: float
    rate: float
    skew: float
    seed: int


@dataclass(slots=True)
class Seen:
    """What the clients saw: (start, milliseconds) of right answers; all else is listed."""

    answers: list[tuple[str, float]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    late: int = 0  # requests that were sent more than half a second after their time


@dataclass(frozen=True, slots=True)
class Told:
    """How long it took, and the instance's budget."""

    took_s: float
    budget_bytes: int


def run(options: Sequence[str] = ()) -> str:
    """Measure; a Markdown section."""
    wish = _wish(options)
    with tempfile.TemporaryDirectory(prefix="modelplex-crowd-") as folder:
        mean = sum(s * n for s, n in zip(SIZES, SHARES, strict=True)) / sum(SHARES)
        memory_mib = int(wish.room * (PROCESS_MIB + mean / MIB)) + 40
        platform = Platform(
            Path(folder) / "data",
            *("--memory-mib", str(memory_mib), "--instance-scale", str(memory_mib / 1024 / 16)),
            *("--fact-log-mib", "400"),
        )
        platform.start()
        try:
            return _measure(platform, wish)
        finally:
            platform.stop()


def _wish(options: Sequence[str]) -> Wish:
    parser = argparse.ArgumentParser(prog="benchmarks crowd")
    parser.add_argument("--models", type=int, default=10_000)
    parser.add_argument("--room", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=40.0)
    parser.add_argument("--skew", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=4)
    return Wish(**vars(parser.parse_args(list(options))))


def _measure(platform: Platform, wish: Wish) -> str:
    image = make_image(platform.data.with_name("image"), HANDLER)
    platform.cli("build", "-t", "crowd", str(image))
    _fill_store(platform.data / "s3" / "crowd" / "models", wish)
    container = {"Image": "crowd", "Mode": "MultiModel", "ModelDataUrl": "s3://crowd/models/"}
    platform.serve("crowd", container)
    seen, budget = Seen(), Budget(platform)
    watching = threading.Thread(target=budget.watch)
    watching.start()
    began = time.time()
    try:
        _play(platform, wish, seen)
    finally:
        budget.done.set()
        watching.join()
    took = time.time() - began
    (instance,) = platform.get("/modelplex/endpoints/crowd/instances")["instances"]
    log = Path(tempfile.gettempdir()) / "crowd-facts.log"
    facts = platform.data / "instances" / instance["id"] / "facts"
    shutil.copy(max(facts.glob("*.log")), log)
    memory = instance["memory"]
    seen_by_clients = _section(wish, seen, budget, Told(took, memory["budget"]))
    for_models = memory["budget"] - memory["base"]
    return seen_by_clients + "\n" + forecast.section(log, _scenario(wish, for_models))


def _scenario(wish: Wish, memory_bytes: int) -> str:
    """The same for the simulator, out of what was asked for and three costs of a first trial."""
    kinds = [
        f"[[models]]\ncount = {wish.models * share // 100}\nsize_bytes = {size + 4096}\n"
        f"process_bytes = {int(PROCESS_MIB * MIB)}\nload_s = {LOAD_S}\nhandle_s = {HANDLE_S}\n"
        for size, share in zip(SIZES, SHARES, strict=True)
    ]
    return "\n".join(
        [
            f"seed = {wish.seed}\nrequests = {int(wish.rate * wish.minutes * 60)}\n",
            *kinds,
            f"[[traffic]]\nrate_per_s = {wish.rate}\nskew = {wish.skew}\n",
            f"[instances]\nmemory_bytes = {memory_bytes}\nvcpus = 1.0\nfetch_latency_s = {FETCH_S}",
        ]
    )


def _fill_store(folder: Path, wish: Wish) -> None:
    """The embedded store's objects are plain files; a PUT for each would take its time."""
    draw = random.Random(wish.seed)
    for number in range(wish.models):
        size = draw.choices(SIZES, SHARES)[0]
        path = folder / _name(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        files: dict[str, bytes | str] = {
            "name.txt": _name(number),
            "weights.bin": draw.randbytes(size),
        }
        path.write_bytes(make_archive(files))


def _name(number: int) -> str:
    return f"c{number // 100}/m{number}.tar.gz"


def _play(platform: Platform, wish: Wish, seen: Seen) -> None:
    """Poisson arrivals at a rate, whatever becomes of those before; popularity by Zipf."""
    draw = random.Random(wish.seed + 1)
    order = list(range(wish.models))
    draw.shuffle(order)
    weights = list(accumulate(1 / (rank + 1) ** wish.skew for rank in range(wish.models)))
    runtime = platform.client("sagemaker-runtime")
    began = time.monotonic()
    at, number = 0.0, 0
    with ThreadPoolExecutor(CLIENTS) as clients:
        while at < wish.minutes * 60:
            at += draw.expovariate(wish.rate)
            model = order[draw.choices(range(wish.models), cum_weights=weights)[0]]
            wait = began + at - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            number += 1
            clients.submit(_ask, runtime, _name(model), number, began + at, seen)


def _ask(runtime: Any, name: str, number: int, due: float, seen: Seen) -> None:
    began = time.monotonic()
    seen.late += began - due > 0.5
    try:
        answer = runtime.invoke_endpoint(
            EndpointName="crowd", TargetModel=name, Body=str(number).encode()
        )
        text = answer["Body"].read().decode()
    except Exception as error:  # every kind is counted, none is expected
        seen.errors[repr(error)[:200]] += 1
        return
    if text != f"{name} {number}":
        seen.wrong.append(f"{name} {number}: {text}")
        return
    start = answer["ResponseMetadata"]["HTTPHeaders"]["x-modelplex-start"]
    seen.answers.append((start, (time.monotonic() - began) * 1000))


class Budget:
    """What zygotes and workers take together, by PSS, as anybody can read it from /proc."""

    def __init__(self, platform: Platform) -> None:
        self.samples: list[int] = []
        self.workers: list[int] = []
        self.done = threading.Event()
        self._data = platform.data

    def watch(self) -> None:
        """Until `done`."""
        while not self.done.wait(SAMPLE_S):
            total, workers = 0, 0
            for pid, argv in processes_of(self._data).items():
                comm = _comm(pid)
                if comm.startswith("mp:") or "modelplex/runtime" in argv:
                    total += pss_bytes(pid)
                    workers += comm.startswith("mp:")
            self.samples.append(total)
            self.workers.append(workers)


def _comm(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text()
    except OSError:
        return ""


def _section(wish: Wish, seen: Seen, budget: Budget, told: Told) -> str:
    starts = Counter(start for start, _ in seen.answers)
    total = len(seen.answers)
    rows = ["| start | requests | share | p50 ms | p99 ms |", "|---|--:|--:|--:|--:|"]
    for start in ("warm", "disk", "cold"):
        times = sorted(ms for kind, ms in seen.answers if kind == start)
        if times:
            share = f"{starts[start] / total:.1%}"
            rows.append(
                f"| {start} | {starts[start]} | {share} | {_at(times, 0.5)} | {_at(times, 0.99)} |"
            )
    above = sum(sample > told.budget_bytes for sample in budget.samples)
    text = (
        f"{wish.models} models, {told.budget_bytes / MIB:.0f} MiB for the instance (room for about "
        f"{wish.room}), Zipf({wish.skew:g}), {wish.rate:g} requests/s for {told.took_s / 60:.1f} "
        f"min, seed {wish.seed}.\n"
        f"Answers: {total} right, {len(seen.wrong)} wrong; errors: {dict(seen.errors) or 'none'}; "
        f"sent late (> 0.5 s): {seen.late}.\n"
        f"Memory by PSS from outside, every {SAMPLE_S:g} s: at most "
        f"{max(budget.samples) / MIB:.0f} MiB ({above} of {len(budget.samples)} samples above the "
        f"budget); workers at most {max(budget.workers)}.\n"
        f"Hit ratio (warm): {starts['warm'] / total:.3f}."
    )
    return "\n".join(["## A crowd of models", "", text, "", *rows, ""])


def _at(times: list[float], share: float) -> str:
    return f"{times[int(share * (len(times) - 1))]:.1f}"

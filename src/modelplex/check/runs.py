"""Runs the checks, one after the other, against a command or an address."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from modelplex.check import ending, invoking, loading, looking, starting
from modelplex.check.command import Command
from modelplex.check.outcomes import Check, CouldNotRun, Failed, Result, Skipped, Verdict
from modelplex.check.samples import Samples
from modelplex.check.wire import Caller
from modelplex.check.world import Given, World

CHECKS = (
    starting.start_up,
    starting.list_at_start,
    starting.ping,
    starting.ping_while_loading,
    starting.ping_while_busy,
    loading.load,
    loading.load_twice,
    loading.load_at_once,
    loading.load_missing,
    loading.load_garbage,
    loading.bad_json,
    loading.memory_at_load_function,
    loading.memory_at_load_class,
    loading.error_at_load_function,
    loading.error_at_load_class,
    looking.list_models,
    looking.paging,
    looking.get,
    looking.get_unknown,
    looking.get_while_loading,
    invoking.invoke,
    invoking.invoke_headers,
    invoking.invoke_unknown,
    invoking.memory_at_predict,
    invoking.large_body,
    invoking.concurrency,
    invoking.slow_neighbour,
    invoking.worker_death,
    ending.unload,
    ending.unload_unknown,
    ending.unload_frees,
    ending.unload_under_load,
    ending.sigterm_drain,  # these two end the container
    ending.sigterm,
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to check: a command (it is started) or a url, with which models, and which checks."""

    url: str = ""
    command: tuple[str, ...] = ()
    given: Given | None = None
    folder: Path | None = None  # for the checker's models; the container sees it at the same path
    log: Path | None = None  # where the command's output goes
    timeout_s: float = 60.0  # of one request
    checks: tuple[Check, ...] = CHECKS


def select(only: Iterable[str], skip: Iterable[str]) -> tuple[Check, ...]:
    """The checks by name, in their order; CouldNotRun if a name is none."""
    wanted, unwanted = set(only), set(skip)
    if unknown := sorted((wanted | unwanted) - {each.name for each in CHECKS}):
        names = ", ".join(each.name for each in CHECKS)
        raise CouldNotRun(f"no check is called {', '.join(unknown)}; there are: {names}")
    chosen = [each for each in CHECKS if not wanted or each.name in wanted]
    return tuple(each for each in chosen if each.name not in unwanted)


async def run(plan: Plan, report: Callable[[Result], None]) -> None:
    """Hands over the results as they come. CouldNotRun when there is no container to ask."""
    with tempfile.TemporaryDirectory(prefix="modelplex-check-", dir=plan.folder) as place:
        folder = Path(place)
        samples = Samples(folder / "models")
        if not plan.command:
            await _expect_somebody(plan.url)
            await _run_all(plan, plan.url, samples, None, report)
            return
        command = Command(list(plan.command), plan.log or folder / "output.log")
        try:
            await command.up()
            await _run_all(plan, command.url, samples, command, report)
        finally:
            await command.stop()


async def _expect_somebody(url: str) -> None:
    try:
        await Caller(url, 10.0).call("GET", "/ping")
    except Failed as error:
        raise CouldNotRun(f"nobody answers at {url}: {error}") from None


async def _run_all(
    plan: Plan,
    url: str,
    samples: Samples,
    command: Command | None,
    report: Callable[[Result], None],
) -> None:
    world = World(Caller(url, plan.timeout_s), samples, plan.given, command)
    for each in plan.checks:
        began = time.monotonic()
        verdict, seen = await _try(each, world)
        report(Result(each, verdict, seen, time.monotonic() - began))


async def _try(each: Check, world: World) -> tuple[Verdict, str]:
    if each.own_models and world.given:
        return "skipped", "needs the checker's own models, and --model was given"
    if each.command and not world.command:
        return "skipped", "needs the container's processes: give a command, not an address"
    try:
        return "passed", await each.run(world)
    except Failed as problem:
        return "failed", str(problem)
    except Skipped as reason:
        return "skipped", str(reason)

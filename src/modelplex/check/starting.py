"""Checks of start-up and of /ping, which decides whether the platform keeps an instance."""

from __future__ import annotations

import asyncio

from modelplex.check.command import PING_LIMIT_S, START_LIMIT_S
from modelplex.check.outcomes import Failed, check
from modelplex.check.samples import Loading
from modelplex.check.wire import Answer
from modelplex.check.world import World

CODE = "SageMaker: your-algorithms-inference-code"
API = "SageMaker: mms-container-apis"
_BLOCKING_S = PING_LIMIT_S + 0.5  # a server that does one thing at a time misses pings
_BETWEEN_S = 0.05


@check(
    f"GET /ping answers 200 within {START_LIMIT_S / 60:g} minutes of the start",
    CODE,
    own_models=False,
    command=True,
)
async def start_up(world: World) -> str:
    """The start itself has a limit, so here it has been kept."""
    return f"healthy after {world.started_command.start.ready_s:.1f} s"


@check(
    "GET /models answers 200 from the start: the platform asks it beside /ping",
    "github.com/pytorch/serve#397",
    own_models=False,
)
async def list_at_start(world: World) -> str:
    """Refused connections are no answers; a 404 would keep the endpoint from coming up."""
    statuses = world.command.start.lists if world.command else []
    statuses = [*statuses, (await world.call("GET", "/models")).status]
    if wrong := sorted({status for status in statuses if status != 200}):
        raise Failed(f"GET /models was answered {wrong} during start-up")
    return f"{len(statuses)} answers, all 200"


@check(f"GET /ping answers 200 within {PING_LIMIT_S:g} s", CODE, own_models=False)
async def ping(world: World) -> str:
    """While nothing happens."""
    return f"200 in {(await _ping(world)).took_s * 1000:.0f} ms"


@check("/ping keeps its limit while a model loads", CODE, own_models=False)
async def ping_while_loading(world: World) -> str:
    """A load of some seconds, in containers that run the checker's models."""
    folder = world.folder() if world.given else world.samples.model(Loading(sleep=_BLOCKING_S))
    name = world.name()
    async with world.forgotten(name), world.meanwhile(world.load(name, folder)) as tasks:
        seen = await _pings_until(world, tasks[0])
        (await tasks[0]).expect(200)
    return seen


@check("/ping keeps its limit while a handler computes", CODE)
async def ping_while_busy(world: World) -> str:
    """The handler sleeps, which stops it as computing would."""
    async with world.loaded() as name:
        order = world.order(name, "sleep", seconds=_BLOCKING_S)
        async with world.meanwhile(order) as tasks:
            seen = await _pings_until(world, tasks[0])
            (await tasks[0]).expect(200)
    return seen


async def _ping(world: World) -> Answer:
    return (await world.call("GET", "/ping", timeout_s=PING_LIMIT_S)).expect(200)


async def _pings_until(world: World, task: asyncio.Task[Answer]) -> str:
    slowest, count = 0.0, 0
    while count == 0 or not task.done():
        slowest = max(slowest, (await _ping(world)).took_s)
        count += 1
        await asyncio.sleep(_BETWEEN_S)
    return f"{count} pings, the slowest {slowest * 1000:.0f} ms"

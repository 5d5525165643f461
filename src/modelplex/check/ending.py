"""Checks of DELETE /models/{name} and of SIGTERM; those that end the container are the last."""

from __future__ import annotations

import asyncio

from modelplex.check.command import TERM_LIMIT_S
from modelplex.check.outcomes import Failed, Skipped, check
from modelplex.check.samples import Loading
from modelplex.check.starting import API, CODE
from modelplex.check.wire import Answer
from modelplex.check.world import World

_HELD_BYTES = 150_000_000
_LEFT_MAX = 0.2  # of what the load added
_PREDICT_S = 1.0
_ARRIVE_S = 0.5  # for a request to reach its handler or queue
_MB = 1e6


@check("DELETE answers 200, and the model is gone", API, own_models=False)
async def unload(world: World) -> str:
    """Gone for GET, for the list, and for invocations."""
    async with world.loaded() as name:
        (await world.unload(name)).expect(200)
        (await world.get(name)).expect(404)
        (await world.sample_invoke(name)).expect(404)
        if name in await world.listed():
            raise Failed(f"{name} was unloaded, and GET /models lists it")
    return "200, then 404"


@check("DELETE of a model that is not loaded is 404", API, own_models=False)
async def unload_unknown(world: World) -> str:
    """A name that never was."""
    (await world.unload(world.name())).expect(404)
    return "404"


@check("The memory is back when DELETE answers", API, command=True)
async def unload_frees(world: World) -> str:
    """The PSS of all processes of the command, with a model that holds 150 MB."""
    command, heavy = world.started_command, world.samples.model(Loading(hold=_HELD_BYTES))
    before = command.memory_bytes()
    async with world.loaded(heavy) as name:
        added = command.memory_bytes() - before
        if added < _HELD_BYTES / 2:
            raise Skipped("the model's memory is in none of the command's processes")
        (await world.unload(name)).expect(200)
        left = command.memory_bytes() - before
    seen = f"of {added / _MB:.0f} MB that the load added {max(0, left) / _MB:.0f} MB were left"
    if left > _LEFT_MAX * added:
        raise Failed(f"{seen} when DELETE had been answered")
    return seen


@check("An invocation is answered, also when an unload overtakes it", CODE)
async def unload_under_load(world: World) -> str:
    """One request runs and two are queued when DELETE comes."""
    async with world.loaded() as name:
        orders = [world.order(name, "sleep", seconds=_PREDICT_S) for _ in range(3)]
        async with world.meanwhile(*orders) as tasks:
            await asyncio.sleep(_ARRIVE_S)
            (await world.unload(name)).expect(200)
            answers = await asyncio.gather(*tasks, return_exceptions=True)
    if wrong := [_tale(each) for each in answers if not _good(each)]:
        raise Failed(f"{len(wrong)} of 3 requests under way at DELETE: {'; '.join(wrong)}")
    return "one running and two queued requests were answered 200"


def _good(answer: Answer | BaseException) -> bool:
    return isinstance(answer, Answer) and answer.status == 200


def _tale(answer: Answer | BaseException) -> str:
    return answer.story if isinstance(answer, Answer) else str(answer)


@check("At SIGTERM the requests under way are answered", CODE, command=True)
async def sigterm_drain(world: World) -> str:
    """One request in its handler; SIGTERM goes to the command itself."""
    name = world.name()
    (await world.load(name, world.folder())).expect(200)
    async with world.meanwhile(world.order(name, "sleep", seconds=_PREDICT_S)) as tasks:
        await asyncio.sleep(_ARRIVE_S)
        world.started_command.terminate()
        (await tasks[0]).expect(200)
    return "200"


@check(
    f"SIGTERM ends the container within {TERM_LIMIT_S:g} s and leaves no process",
    CODE,
    own_models=False,
    command=True,
)
async def sigterm(world: World) -> str:
    """With a model loaded; processes are known by parent, session and environment."""
    command = world.started_command
    if not command.terminated:
        (await world.load(world.name(), world.folder())).expect(200)
        command.terminate()
    seconds = await command.ended()
    if seconds is None:
        raise Failed(f"it was still there {TERM_LIMIT_S:g} s after SIGTERM")
    if left := await command.leftovers():
        raise Failed(f"it exited after {seconds:.1f} s and left {len(left)} processes: {left}")
    return f"exited after {seconds:.1f} s, no process left"

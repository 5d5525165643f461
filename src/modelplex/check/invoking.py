"""Checks of POST /models/{name}/invoke: bytes, headers, errors, and many at once."""

from __future__ import annotations

import asyncio
import time

from modelplex.check.outcomes import Failed, check
from modelplex.check.starting import API, CODE
from modelplex.check.wire import Answer
from modelplex.check.world import World

RUNTIME = "botocore: sagemaker-runtime, BodyBlob"
WORKER = "Multi Model Server: WorkerThread.java"
_LARGE_BYTES = 6 * 1024 * 1024
_REQUESTS, _CALLERS = 64, 16
_SLOW_S, _ARRIVE_S = 1.5, 0.2
_REVIVED_S = 60.0


@check("The answer's body and content type are the handler's", API)
async def invoke(world: World) -> str:
    """Bytes that are no text come back as they went."""
    body = bytes(range(256))
    async with world.loaded() as name:
        answer = (await world.invoke(name, body, "application/x-check")).expect(200)
        kind = dict(answer.headers).get(b"content-type", b"").decode()
        if answer.body != body or kind != "application/x-check":
            raise Failed(f"{answer.story} of type {kind!r}; the handler echoes body and type")
    return f"200, {len(body)} bytes and their type"


@check(
    "Content-Type, Accept, Custom-Attributes and Target-Model reach the handler",
    API,
)
async def invoke_headers(world: World) -> str:
    """The handler answers with the headers that it sees; their case is free."""
    sent = {
        "Accept": "text/csv",
        "X-Amzn-SageMaker-Custom-Attributes": "trace=7",
        "X-Amzn-SageMaker-Target-Model": "folder/model.tar.gz",
    }
    async with world.loaded() as name:
        body = b'{"do": "headers"}'
        answer = (await world.invoke(name, body, "application/json", sent)).expect(200)
    seen = {key.lower(): value for key, value in answer.document().items()}
    wanted = {**sent, "Content-Type": "application/json"}
    if wrong := {key: value for key, value in wanted.items() if seen.get(key.lower()) != value}:
        raise Failed(f"{wrong} were sent; the handler saw {seen}")
    return "all four arrived"


@check("Invoking a model that is not loaded is 404", API, own_models=False)
async def invoke_unknown(world: World) -> str:
    """A name that never was."""
    (await world.sample_invoke(world.name())).expect(404)
    return "404"


@check("MemoryError while predicting is 507", API)
async def memory_at_predict(world: World) -> str:
    """And the model goes on answering."""
    async with world.loaded() as name:
        (await world.order(name, "memory")).expect(507)
        (await world.sample_invoke(name)).expect(200)
    return "507, and the next request 200"


@check("A body of 6 MiB is accepted", RUNTIME)
async def large_body(world: World) -> str:
    """The handler says how many bytes it got."""
    async with world.loaded() as name:
        answer = await world.invoke(name, bytes(_LARGE_BYTES), "application/x-size")
        if answer.expect(200).body != str(_LARGE_BYTES).encode():
            raise Failed(f"{answer.story}; {_LARGE_BYTES} bytes were sent")
    return f"{_LARGE_BYTES} bytes arrived in {answer.took_s * 1000:.0f} ms"


@check("Every one of many requests gets its own answer", CODE)
async def concurrency(world: World) -> str:
    """Sixteen callers with one model."""
    began = time.monotonic()
    async with world.loaded() as name:

        async def caller(number: int) -> None:
            for index in range(number, _REQUESTS, _CALLERS):
                body = b"request %d" % index
                answer = (await world.invoke(name, body)).expect(200)
                if answer.body != body:
                    raise Failed(f"{answer.story}: the answer to another request")

        await asyncio.gather(*map(caller, range(_CALLERS)))
    return f"{_REQUESTS} of {_REQUESTS}, {_CALLERS} at a time, in {time.monotonic() - began:.1f} s"


@check("A model that is busy does not keep another from answering", CODE)
async def slow_neighbour(world: World) -> str:
    """One handler sleeps; the other model answers meanwhile."""
    async with world.loaded() as slow, world.loaded() as quick:
        order = world.order(slow, "sleep", seconds=_SLOW_S)
        async with world.meanwhile(order) as tasks:
            await asyncio.sleep(_ARRIVE_S)
            answer = (await world.sample_invoke(quick)).expect(200)
            await asyncio.sleep(_ARRIVE_S)  # the answer that came before may be read after
            if tasks[0].done():
                raise Failed(f"{answer.story} after the {_SLOW_S:g} s request to another model")
            (await tasks[0]).expect(200)
    return f"answered after {answer.took_s * 1000:.0f} ms"


@check("When a handler's process exits: an error, then answers again", WORKER)
async def worker_death(world: World) -> str:
    """`os._exit` in the handler."""
    async with world.loaded() as name:
        death = await world.order(name, "exit")
        if death.status < 500:
            raise Failed(f"{death.story}; the handler had exited")
        after_s = await _answers_again(world, name)
    return f"{death.status}, and answers again after {after_s:.1f} s"


async def _answers_again(world: World, name: str) -> float:
    began = time.monotonic()
    answer: Answer | None = None
    while time.monotonic() - began < _REVIVED_S:
        answer = await world.sample_invoke(name)
        if answer.status == 200:
            return time.monotonic() - began
        await asyncio.sleep(0.1)
    raise Failed(f"{_REVIVED_S:g} s after the handler exited {answer.story if answer else name}")

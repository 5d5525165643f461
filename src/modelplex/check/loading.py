"""Checks of POST /models: what is loaded, what is refused, and with which status."""

from __future__ import annotations

import asyncio

from modelplex.check.outcomes import Failed, check
from modelplex.check.samples import Loading, Style
from modelplex.check.starting import API
from modelplex.check.wire import Answer
from modelplex.check.world import World

ARCHIVE = "Multi Model Server: ModelArchive.java"
REGISTER = "Multi Model Server: ManagementRequestHandler.java"
_AT_ONCE = 4
_LATER_S = 0.7
_NO_ORDERS = {"malformed": b'{"model_name": ', "empty": b"", "a list": b"[]"}


@check("POST /models answers 200 when the model can be invoked", API, own_models=False)
async def load(world: World) -> str:
    """The body is what the platform sends: model_name and url."""
    name = world.name()
    async with world.forgotten(name):
        answer = (await world.load(name, world.folder())).expect(200)
        (await world.sample_invoke(name)).expect(200)
    return f"200 after {answer.took_s * 1000:.0f} ms"


@check("A name that is loaded already is answered 409", API, own_models=False)
async def load_twice(world: World) -> str:
    """One load after the other."""
    async with world.loaded() as name:
        (await world.load(name, world.folder())).expect(409)
        (await world.sample_invoke(name)).expect(200)
    return "409, and the first goes on answering"


@check("Of simultaneous loads of one name one succeeds: 409", API, own_models=False)
async def load_at_once(world: World) -> str:
    """Four requests at the same moment."""
    name = world.name()
    async with world.forgotten(name):
        calls = [world.load(name, world.folder()) for _ in range(_AT_ONCE)]
        statuses = sorted(answer.status for answer in await asyncio.gather(*calls))
        if statuses != [200, *[409] * (_AT_ONCE - 1)]:
            raise Failed(f"{_AT_ONCE} simultaneous loads of {name} were answered {statuses}")
        (await world.sample_invoke(name)).expect(200)
    return str(statuses)


@check("A url with nothing at it is answered 404", ARCHIVE, own_models=False)
async def load_missing(world: World) -> str:
    """And nothing is registered."""
    name = world.name()
    async with world.forgotten(name):
        (await world.load(name, world.samples.missing())).expect(404)
        (await world.get(name)).expect(404)
    return "404"


@check("What is no model is answered 4xx", ARCHIVE, own_models=False)
async def load_garbage(world: World) -> str:
    """An archive that is none, and a manifest that is none."""
    archive, manifest = world.samples.garbage_archive(), world.samples.garbage_manifest()
    names = [world.name(), world.name()]
    async with world.forgotten(*names):
        answers = [
            await world.load(name, path)
            for name, path in zip(names, (archive, manifest), strict=True)
        ]
    _all_refused(answers, "4xx")
    return "an archive {}, a manifest {}".format(*(answer.status for answer in answers))


@check("A body that is no order is answered 400", "RFC 9110, 15.5.1", own_models=False)
async def bad_json(world: World) -> str:
    """Malformed, empty, and JSON of another shape."""
    answers = [await world.load_raw(body) for body in _NO_ORDERS.values()]
    _all_refused(answers, "400")
    return ", ".join(_NO_ORDERS) + ": 400"


def _all_refused(answers: list[Answer], wanted: str) -> None:
    """Failed, with each answer whose status does not begin with the digits of `wanted`."""
    digits = wanted.rstrip("x")
    wrong = [each.story for each in answers if not str(each.status).startswith(digits)]
    if wrong:
        raise Failed(f"{'; '.join(wrong)}; the contract says {wanted}")


@check("MemoryError while loading is 507, nothing stays", API)
async def memory_at_load_function(world: World) -> str:
    """A handler in the style `module.py:function`."""
    return await _fails_to_load(world, "function", "memory", 507)


@check("MemoryError while loading is 507, nothing stays", API)
async def memory_at_load_class(world: World) -> str:
    """A handler in the style of the inference toolkit: a class with `initialize`."""
    return await _fails_to_load(world, "class", "memory", 507)


@check("A load that raises is 5xx, nothing stays", REGISTER)
async def error_at_load_function(world: World) -> str:
    """A handler in the style `module.py:function`."""
    return await _fails_to_load(world, "function", "error", 500)


@check("A load that raises is 5xx, nothing stays", REGISTER)
async def error_at_load_class(world: World) -> str:
    """A handler in the style of the inference toolkit: a class with `initialize`."""
    return await _fails_to_load(world, "class", "error", 500)


async def _fails_to_load(world: World, style: Style, fail: str, status: int) -> str:
    name = world.name()
    bad = world.samples.model(Loading(style, fail="memory" if fail == "memory" else "error"))
    async with world.forgotten(name):
        (await world.load(name, bad)).expect(status)
        await _expect_nothing(world, name)
        await asyncio.sleep(_LATER_S)  # Multi Model Server registers it again
        await _expect_nothing(world, name)
        (await world.load(name, world.folder())).expect(200)
        (await world.sample_invoke(name)).expect(200)
    return f"{status}; the name is free, and a good model loads under it"


async def _expect_nothing(world: World, name: str) -> None:
    (await world.get(name)).expect(404)
    if name in await world.listed():
        raise Failed(f"{name} could not be loaded, and GET /models lists it")

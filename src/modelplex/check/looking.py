"""Checks of GET /models and GET /models/{name}: what the platform believes is loaded."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from modelplex.check.outcomes import Failed, check
from modelplex.check.samples import Loading
from modelplex.check.starting import API
from modelplex.check.wire import Answer
from modelplex.check.world import World

_MODELS = 3
_PAGES_MAX = 1000
_LOAD_S = 1.5


@check("GET /models lists every model's modelName and modelUrl", API, own_models=False)
async def list_models(world: World) -> str:
    """One model that was not there before."""
    async with world.loaded() as name:
        found = await world.listed()
    if found.get(name) != str(world.folder()):
        raise Failed(f"{name} of {world.folder()} was loaded, and GET /models lists {found}")
    return f"{len(found)} listed, with the url they were loaded from"


@check(
    "nextPageToken leads to every model once, limit is kept, no page is empty",
    API,
    own_models=False,
)
async def paging(world: World) -> str:
    """Pages of one model each, the last of which is exactly full."""
    async with contextlib.AsyncExitStack() as stack:
        names = [await stack.enter_async_context(world.loaded()) for _ in range(_MODELS)]
        seen: list[str] = []
        token, pages = "", 0
        while (token or not pages) and pages < _PAGES_MAX:
            sent = f"GET /models?limit=1&next_page_token={token} ({len(seen)} models seen before)"
            models, token = await world.page(1, token)
            pages += 1
            if len(models) != 1:
                raise Failed(f"{sent} had {len(models)} models in it")
            seen += [str(each.get("modelName")) for each in models]
    if token or len(set(seen)) != len(seen) or not set(names) <= set(seen):
        raise Failed(f"{names} were loaded; pages of one model each had {seen[:20]}")
    return f"{pages} pages of one model"


@check("GET /models/{name} answers 200 with modelName and modelUrl", API, own_models=False)
async def get(world: World) -> str:
    """Of a model that is loaded."""
    async with world.loaded() as name:
        answer = (await world.get(name)).expect(200)
        document = answer.document()
        wanted = {"modelName": name, "modelUrl": str(world.folder())}
        if wrong := {key for key, value in wanted.items() if document.get(key) != value}:
            raise Failed(f"{answer.story}; {sorted(wrong)} should be as in {wanted}")
    return "200, both as they were sent"


@check("GET of a model that is not loaded is 404", API, own_models=False)
async def get_unknown(world: World) -> str:
    """A name that never was."""
    (await world.get(world.name())).expect(404)
    return "404"


@check("GET tells a model that is loading from a loaded one", API)
async def get_while_loading(world: World) -> str:
    """By its status, or by a `status` in the document, of the model or of its workers."""
    name, slow = world.name(), world.samples.model(Loading(sleep=_LOAD_S))
    async with world.forgotten(name), world.meanwhile(world.load(name, slow)) as tasks:
        await asyncio.sleep(_LOAD_S / 3)
        before = await world.get(name)
        if tasks[0].done():
            raise Failed(f"{(await tasks[0]).story} before the model was loaded")
        (await tasks[0]).expect(200)
        after = await world.get(name)
    if _told(before) == _told(after):
        raise Failed(f"while it loaded, {before.story}; afterwards it was the same")
    return f"{_told(before)} while it loads, {_told(after)} afterwards"


def _told(answer: Answer) -> Any:
    """What an answer says about readiness."""
    if answer.status != 200:
        return answer.status
    document = answer.document()
    workers = [each.get("status") for each in document.get("workers", [])]
    return document.get("status") or workers or "no status"

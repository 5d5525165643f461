"""What a check has at hand: the container, models for it, and the calls of the contract."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from modelplex.check.command import Command
from modelplex.check.outcomes import Failed
from modelplex.check.samples import Loading, Samples
from modelplex.check.wire import Answer, Caller


@dataclass(frozen=True, slots=True)
class Given:
    """A model for containers of other kinds, and one request that it can answer."""

    folder: Path
    body: bytes
    content_type: str


class World:
    """One container under examination. Every model gets a name that was not used before."""

    def __init__(
        self, caller: Caller, samples: Samples, given: Given | None, command: Command | None
    ) -> None:
        self.samples = samples
        self.given = given
        self.command = command
        self.call = caller.call  # any request; Failed if nothing comes back
        self._names = 0

    @property
    def started_command(self) -> Command:
        """The command; only for checks that said that they need one."""
        assert self.command is not None
        return self.command

    def folder(self) -> Path:
        """A model that any check can load: the given one, or an echo."""
        return self.given.folder if self.given else self.samples.model(Loading())

    def name(self) -> str:
        """A model name, as opaque as SageMaker's."""
        self._names += 1
        return f"check-{self._names}"

    # -- calls -------------------------------------------------------------------------------

    async def load(self, name: str, folder: Path) -> Answer:
        """POST /models as the platform sends it."""
        body = json.dumps({"model_name": name, "url": str(folder)}).encode()
        return await self.load_raw(body)

    async def load_raw(self, body: bytes) -> Answer:
        """POST /models with any body."""
        return await self.call("POST", "/models", body, {"Content-Type": "application/json"})

    async def get(self, name: str) -> Answer:
        """GET /models/{name}."""
        return await self.call("GET", f"/models/{name}")

    async def unload(self, name: str) -> Answer:
        """DELETE /models/{name}."""
        return await self.call("DELETE", f"/models/{name}")

    async def invoke(
        self,
        name: str,
        body: bytes,
        content_type: str = "application/octet-stream",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """POST /models/{name}/invoke with the headers that the platform adds."""
        every = {"X-Amzn-SageMaker-Target-Model": f"{name}.tar.gz", **(headers or {})}
        every |= {"Content-Type": content_type}
        return await self.call("POST", f"/models/{name}/invoke", body, every)

    async def order(self, name: str, do: str, **arguments: Any) -> Answer:
        """Invoke one of the checker's own models: `do` is what its handler shall do."""
        body = json.dumps({"do": do, **arguments}).encode()
        return await self.invoke(name, body, "application/json")

    async def sample_invoke(self, name: str) -> Answer:
        """A request that the model of `folder` can answer."""
        if self.given:
            return await self.invoke(name, self.given.body, self.given.content_type)
        return await self.invoke(name, b"hello")

    async def page(self, limit: int, token: str) -> tuple[list[dict[str, Any]], str]:
        """One page of GET /models (0: no limit), and the token of the next or ""."""
        query = [f"limit={limit}"] if limit else []
        query += [f"next_page_token={quote(token, safe='')}"] if token else []
        answer = await self.call("GET", "/models" + ("?" + "&".join(query) if query else ""))
        document = answer.expect(200).document()
        models = document.get("models")
        if not isinstance(models, list) or not all(isinstance(each, dict) for each in models):
            raise Failed(f"{answer.story}; `models` is to be a list of objects")
        return models, str(document.get("nextPageToken") or "")

    async def listed(self) -> dict[str, str]:
        """modelName -> modelUrl of all models, over all pages."""
        found: dict[str, str] = {}
        token = ""
        for _ in range(1000):
            models, token = await self.page(0, token)
            found |= {str(each.get("modelName")): str(each.get("modelUrl")) for each in models}
            if not token:
                return found
        raise Failed("GET /models had a nextPageToken a thousand times")

    # -- models for the length of a block ----------------------------------------------------

    @contextlib.asynccontextmanager
    async def loaded(self, folder: Path | None = None) -> AsyncIterator[str]:
        """A model that is loaded; unloaded in the end, whatever happened."""
        name = self.name()
        async with self.forgotten(name):
            (await self.load(name, folder or self.folder())).expect(200)
            yield name

    @contextlib.asynccontextmanager
    async def forgotten(self, *names: str) -> AsyncIterator[None]:
        """Afterwards nothing of these names is loaded, as far as the container lets us."""
        try:
            yield
        finally:
            for name in names:
                with contextlib.suppress(Failed):
                    await self.unload(name)

    @contextlib.asynccontextmanager
    async def meanwhile(
        self, *requests: Coroutine[None, None, Answer]
    ) -> AsyncIterator[list[asyncio.Task[Answer]]]:
        """Requests under way; they are awaited or cancelled in the end."""
        tasks = [asyncio.ensure_future(each) for each in requests]
        try:
            yield tasks
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

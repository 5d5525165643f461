"""The instance's disk, which a process of its own works on (`fetching.py`).

A process that ends is started again by whoever needs it next. It finds on the disk what the one
before it had brought there, and what that was doing is done again.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from pathlib import Path

from modelplex.aws.errors import InternalFailure
from modelplex.instance.artifacts.child import Child, Ended
from modelplex.instance.artifacts.download import Stopped
from modelplex.instance.artifacts.layout import Layout
from modelplex.instance.artifacts.places import Found
from modelplex.instance.artifacts.preparation import Prepare
from modelplex.instance.artifacts.store import FetchFailure, Unavailable
from modelplex.instance.artifacts.wire import Document, Storage

log = logging.getLogger(__name__)

TRIES_MAX = 3  # of an order, each with another process
PAUSE_S = 0.5  # before the second try; twice that before the third
STOP_S = 10.0  # for a fetch to end that is to stop; after that the process counts as hung


class Fetcher:
    """What is on the disk, and how it comes there and goes."""

    def __init__(self, storage: Storage, cwd: Path, prepare: Prepare | None = None) -> None:
        """`prepare` is called if `storage.prepares`. `cwd` only shows whose process it is."""
        self.layout = Layout(storage.folder)
        self._storage = storage
        self._cwd = cwd
        self._prepare = prepare
        self._contents: dict[str, str] = {}  # of models on the disk
        self._fetching: dict[str, int | None] = {}  # by model; the order, once it was given
        self._stopping: set[str] = set()
        self._child: Child | None = None
        self._closed = False

    def start(self) -> None:
        """Start the process, which begins to look at the disk. Raises OSError."""
        self._living()

    async def recovered(self) -> dict[str, Found]:
        """Whole artifacts of an earlier life by model; all else is gone. Raises OSError."""
        found = await self._living().recovered()
        self._contents = {model: each.content for model, each in found.items()}
        return found

    def folder(self, model: str) -> Path:
        """Where the model's files are when it is on the disk."""
        return self.layout.folder(model)

    def original(self, content: str) -> Path:
        """The files of a content, for as long as one of its models is on the disk; sealed."""
        return self.layout.original(content)

    def content(self, model: str) -> str:
        """Equal for byte-identical models on the disk; "" where nothing is shared."""
        return self._contents.get(model, "")

    async def fetch(self, model: str, limit_bytes: int) -> tuple[Found, dict[str, float]]:
        """Bring the artifact to the disk; with the milliseconds of each step.

        For a key with a version that is the only one accepted. Raises FetchFailure, Overran (with
        the limit to try next) and Stopped; in each case nothing is left. One fetch of a model at a
        time.
        """
        self._fetching[model] = None
        try:
            answer = await self._done({"fetch": model, "limit": limit_bytes}, model)
        except (Ended, OSError) as error:
            problem = f"The instance could not store the model data of {model}: {error}."
            raise FetchFailure(InternalFailure(problem)) from None
        finally:
            del self._fetching[model]
            self._stopping.discard(model)
        found = Found(**answer["fetched"])
        self._contents[model] = found.content
        return found, answer["steps"]

    def stop(self, model: str) -> None:
        """Have a fetch under way end soon, with Stopped or with what it has come to."""
        if model not in self._fetching or model in self._stopping:
            return
        self._stopping.add(model)
        number = self._fetching[model]
        if self._child is not None:
            if number is not None:
                self._child.tell({"stop": number})
            self._child.expect(number, STOP_S)

    async def drop(self, model: str) -> None:
        """Remove the artifact; gone at once for everybody else, and then from the disk. Raises
        OSError and Ended."""
        await self._done({"drop": model})
        self._contents.pop(model, None)

    async def version(self, model: str) -> str:
        """Which version the store has now; "" for none. Raises FetchFailure and Unavailable."""
        try:
            version: str = (await self._done({"version": model}))["version"]
        except (Ended, OSError) as error:
            raise Unavailable(str(error)) from None
        return version

    def serves(self, model: str) -> None:
        """Note on the disk that this version of a model serves: `recovered` gives it last."""
        if self._child is not None:
            self._child.tell({"serves": model})

    def close(self) -> None:
        """End the process, whatever it is doing, and start no other."""
        self._closed = True
        if self._child is not None:
            self._child.kill()

    # -- inside -------------------------------------------------------------------------------

    async def _done(self, order: Document, model: str = "") -> Document:
        """The answer to an order; `model`: it is that one's fetch, and may be stopped.

        Raises what the process met, Stopped, OSError when it cannot be started, and Ended when
        several have ended over it.
        """
        for attempt in itertools.count(1):
            try:
                child = self._living()
                await child.recovered()
                if model in self._stopping:
                    break
                number = child.number()
                if model:
                    self._fetching[model] = number
                return await child.ask(number, order)
            except Ended as error:
                if self._closed:
                    raise
                log.warning("fetcher.died", extra={"problem": str(error), "attempt": attempt})
                if attempt == TRIES_MAX:
                    raise
            if model in self._stopping:
                break
            await asyncio.sleep(PAUSE_S * attempt)
        raise Stopped

    def _living(self) -> Child:
        """Raises OSError, and Ended when there is to be none any more."""
        if self._closed:
            raise Ended("the instance is being stopped")
        if self._child is None or self._child.ended:
            self._child = Child(self._storage, self._cwd, self._prepare)
        return self._child

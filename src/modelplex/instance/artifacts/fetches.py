"""Artifacts brought to the disk and taken from it, as residency orders.

What becomes of an order is returned as the fact that residency is told.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from modelplex.archives.tree import Overran
from modelplex.aws.errors import InternalFailure
from modelplex.core import events
from modelplex.core.events import Fact
from modelplex.instance.artifacts.disk import Artifacts
from modelplex.instance.artifacts.opening import Download, Stopped
from modelplex.instance.artifacts.store import FetchFailure
from modelplex.instance.calls import Work
from modelplex.instance.logs.history import History
from modelplex.workers.pools import REQUIREMENTS

log = logging.getLogger(__name__)

CHORE_THREADS = 1  # removing folders


class Fetches:
    """Those under way, by the model's key."""

    def __init__(
        self, artifacts: Artifacts, history: History, at_once: int, clock: Callable[[], float]
    ) -> None:
        self._artifacts = artifacts
        self._history = history
        self._clock = clock
        self._downloads: dict[str, Download] = {}
        self._fetchers = ThreadPoolExecutor(at_once, "fetch")
        self._chores = ThreadPoolExecutor(CHORE_THREADS, "chore")

    def recovered(self) -> Iterator[Fact]:
        """What an earlier life has left on the disk."""
        for model, found in self._artifacts.recover().items():
            alone = self._alone(model)
            yield events.Recovered(model, found.disk_bytes, found.content, found.version, alone)

    async def fetch(self, order: events.Fetch, work: Work) -> Fact:
        """Bring an artifact; `work` learns when."""
        model, download = order.model, Download()
        work.fetch_began = self._clock()
        self._downloads[model] = download
        fetch = partial(self._artifacts.fetch, model, order.limit_bytes, download)
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._fetchers, fetch)
        except Overran as error:
            return events.FetchOverran(model, error.needed_bytes)
        except FetchFailure as error:
            return self._failed(model, error)
        except Stopped:
            given_up = FetchFailure(InternalFailure("it took too long and was given up"))
            return self._failed(model, given_up)
        finally:
            work.fetch_ended = self._clock()
            del self._downloads[model]
        seconds = work.fetch_ended - work.fetch_began
        self._history.fetched(model, found.disk_bytes, seconds, download.steps())
        alone = self._alone(model)
        return events.Fetched(model, found.disk_bytes, found.content, found.version, alone)

    def cancel(self, model: str) -> None:
        """Give up the fetch under way, if there is one; its own end is still reported."""
        if download := self._downloads.get(model):
            download.stop.set()

    async def drop(self, order: events.Drop) -> Fact:
        """Take an artifact from the disk."""
        drop = partial(self._artifacts.drop, order.model)
        try:
            await asyncio.get_running_loop().run_in_executor(self._chores, drop)
        except OSError as error:
            log.error("artifact.stuck", extra={"model": order.model, "problem": str(error)})
        self._history.dropped(order)
        return events.Dropped(order.model)

    def close(self) -> None:
        """Stop: what runs in threads ends by itself, at the latest when its reads do."""
        for download in self._downloads.values():
            download.stop.set()
        self._fetchers.shutdown(wait=False, cancel_futures=True)
        self._chores.shutdown(wait=False, cancel_futures=True)

    def _alone(self, model: str) -> bool:
        """Whether what a model brings along forbids that it shares a worker."""
        return (self._artifacts.folder(model) / REQUIREMENTS).is_file()

    def _failed(self, model: str, failure: FetchFailure) -> Fact:
        self._history.failed(model, "fetch", failure.error.message)
        return events.FetchFailed(model, failure.error, failure.passing)

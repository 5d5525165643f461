"""Artifacts brought to the disk and taken from it, as residency orders.

What becomes of an order is returned as the fact that residency is told.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping

from modelplex.archives.tree import Overran
from modelplex.aws.errors import InternalFailure
from modelplex.core import events
from modelplex.core.events import Fact
from modelplex.instance.artifacts.child import Ended
from modelplex.instance.artifacts.download import Stopped
from modelplex.instance.artifacts.fetcher import Fetcher
from modelplex.instance.artifacts.places import Found
from modelplex.instance.artifacts.store import FetchFailure
from modelplex.instance.calls import Work
from modelplex.instance.logs.history import History
from modelplex.workers.pools import REQUIREMENTS

log = logging.getLogger(__name__)


class Fetches:
    """Carries out the orders, and tells the history."""

    def __init__(self, fetcher: Fetcher, history: History, clock: Callable[[], float]) -> None:
        self._fetcher = fetcher
        self._history = history
        self._clock = clock
        self._under_way: set[str] = set()

    def recovered(self, found: Mapping[str, Found]) -> Iterator[Fact]:
        """What an earlier life has left on the disk."""
        for model, each in found.items():
            alone = self._alone(model)
            yield events.Recovered(model, each.disk_bytes, each.content, each.version, alone)

    async def fetch(self, order: events.Fetch, work: Work) -> Fact:
        """Bring an artifact; `work` learns when."""
        model = order.model
        work.fetch_began = self._clock()
        self._under_way.add(model)
        try:
            found, steps = await self._fetcher.fetch(model, order.limit_bytes)
        except Overran as error:
            return events.FetchOverran(model, error.needed_bytes)
        except FetchFailure as error:
            return self._failed(model, error)
        except Stopped:
            given_up = FetchFailure(InternalFailure("it took too long and was given up"))
            return self._failed(model, given_up)
        finally:
            work.fetch_ended = self._clock()
            self._under_way.discard(model)
        seconds = work.fetch_ended - work.fetch_began
        self._history.fetched(model, found.disk_bytes, seconds, steps)
        alone = self._alone(model)
        return events.Fetched(model, found.disk_bytes, found.content, found.version, alone)

    def cancel(self, model: str) -> None:
        """Give up the fetch under way, if there is one; its own end is still reported."""
        self._fetcher.stop(model)

    async def drop(self, order: events.Drop) -> Fact:
        """Take an artifact from the disk."""
        try:
            await self._fetcher.drop(order.model)
        except (Ended, OSError) as error:
            log.error("artifact.stuck", extra={"model": order.model, "problem": str(error)})
        self._history.dropped(order)
        return events.Dropped(order.model)

    def close(self) -> None:
        """Give up all that is under way."""
        for model in self._under_way:
            self._fetcher.stop(model)

    def _alone(self, model: str) -> bool:
        """Whether what a model brings along forbids that it shares a worker."""
        return (self._fetcher.folder(model) / REQUIREMENTS).is_file()

    def _failed(self, model: str, failure: FetchFailure) -> Fact:
        self._history.failed(model, "fetch", failure.error.message)
        return events.FetchFailed(model, failure.error, failure.passing)

"""Looks for newer artifacts under the same keys, for models whose rule says `refresh`.

The store is asked for the version of every such model that is here, once per interval, the loaded
ones first. A model without that rule is never looked at, as on SageMaker, where an artifact must
not be overwritten. A deleted artifact changes nothing: the version that is here serves on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator

from modelplex.core.events import Changed, Fact
from modelplex.core.keys import name_of
from modelplex.core.residency import Residency
from modelplex.core.rules import Rule, rule_of
from modelplex.instance.artifacts.store import FetchFailure, Unavailable
from modelplex.instance.logs.history import History

log = logging.getLogger(__name__)

ASKED_MAX = 4  # questions to the store at once
JITTER = 0.2  # of the interval, so that instances do not ask together
SLOWER_MAX = 16  # intervals between two rounds while the store does not answer


class Refresher:
    """The background look at the store of one instance."""

    def __init__(
        self,
        *,
        residency: Residency,
        notify: Callable[[Fact], None],
        ask: Callable[[str], Awaitable[str]],
        history: History,
        interval_s: float,
        draw: Callable[[], float],
    ) -> None:
        """`ask` gives a model's version in the store; `draw` a number from 0 to 1."""
        self.rules: tuple[Rule, ...] = ()
        self._residency = residency
        self._notify = notify
        self._ask = ask
        self._history = history
        self._interval_s = interval_s
        self._draw = draw
        self._slower = 1
        self._gone: set[str] = set()  # deleted, and said so

    @property
    def pause_s(self) -> float:
        """Until the next round: longer and longer while the store does not answer."""
        return self._interval_s * self._slower

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await asyncio.sleep(self.pause_s * (1 + JITTER * (self._draw() - 0.5)))
            await self.look()

    async def look(self) -> None:
        """Ask once for every model; all are left for later when the store does not answer."""
        names = list(self._names())
        self._gone.intersection_update(names)
        remaining = iter(names)
        answered = await asyncio.gather(*(self._look_at(remaining) for _ in range(ASKED_MAX)))
        self._slower = 1 if all(answered) else min(2 * self._slower, SLOWER_MAX)

    def _names(self) -> Iterator[str]:
        """What is to be followed of what is here, the loaded first."""
        if not any(rule.refresh for rule in self.rules):
            return
        here = self._residency.here
        for key in (*here.loaded, *here.on_disk):
            name = name_of(key)
            if here.versions.serving(name) == key and rule_of(self.rules, name).refresh:
                yield name

    async def _look_at(self, names: Iterator[str]) -> bool:
        """Ask for one after the other; whether the store answered every time."""
        for name in names:
            try:
                version = await self._ask(name)
            except FetchFailure as error:
                self._note_gone(name, error)
            except Unavailable as problem:
                log.warning("refresh.unanswered", extra={"model": name, "problem": str(problem)})
                return False
            else:
                self._compare(name, version)
        return True

    def _compare(self, name: str, version: str) -> None:
        self._gone.discard(name)
        if version and self._residency.here.versions.is_news(name, version):
            self._notify(Changed(name, version))

    def _note_gone(self, name: str, error: FetchFailure) -> None:
        if name not in self._gone:
            self._gone.add(name)
            self._history.platform(f"Model {name} keeps the version that is here: {error}")

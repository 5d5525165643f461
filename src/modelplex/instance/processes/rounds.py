"""Whose memory is measured next: those used since the last time, and the next ones in a round."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from modelplex.instance.calls import AnyWorker

SAMPLED_MAX = 32  # processes measured at a time, of the used and of the others


class Rounds:
    """Chooses among processes, by one model of each."""

    def __init__(self) -> None:
        self._used: dict[str, None] = {}  # since they were last measured
        self._sampled_to = 0  # where among all processes the round is

    def used(self, model: str) -> None:
        """It has had something to do."""
        self._used[model] = None

    def due(self, workers: Mapping[str, AnyWorker]) -> list[tuple[str, AnyWorker]]:
        """One model of each process that is to be measured now."""
        used = list(itertools.islice(self._used, SAMPLED_MAX))
        for name in used:
            del self._used[name]
        firsts = list({worker.pid: name for name, worker in workers.items()}.values())
        begin = self._sampled_to if self._sampled_to < len(firsts) else 0
        self._sampled_to = begin + SAMPLED_MAX
        names = dict.fromkeys([*used, *firsts[begin : self._sampled_to]])
        by_process = {workers[name].pid: name for name in names if name in workers}
        return [(name, workers[name]) for name in by_process.values()]

"""Whose memory is measured next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from modelplex.instance.processes.rounds import SAMPLED_MAX, Rounds


@dataclass(frozen=True)
class Process:
    """All that matters of a worker."""

    pid: int


def test_the_used_come_at_once_and_all_in_their_turn() -> None:
    """Each process once, however many models it holds."""
    workers: dict[str, Any] = {f"m{n}": Process(n // 2) for n in range(4 * SAMPLED_MAX)}
    rounds = Rounds()
    last = f"m{4 * SAMPLED_MAX - 1}"
    rounds.used(last)
    rounds.used("gone")
    first = rounds.due(workers)
    assert first[0] == (last, workers[last])
    assert len(first) == SAMPLED_MAX + 1
    seen = {worker for _, worker in [*first, *rounds.due(workers)]}
    assert seen == set(workers.values())

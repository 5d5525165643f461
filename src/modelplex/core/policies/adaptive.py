"""Aging with the half-life that suits the traffic, found by trying all of them at once.

How fast the past should be forgotten differs by orders of magnitude: steady traffic wants the
longest memory, sessions that come once want none. A ghost per half-life lives on a sample of the
models, in the same share of the room, and adds up what it would have paid for loads. The real
memory follows the one that paid least lately. (Miniature simulation: Waldspurger and others,
"Cache modeling and optimization using miniature simulations", 2017.)
"""

from __future__ import annotations

from zlib import crc32

from modelplex.core.policies.aging import Aging, worth_of
from modelplex.core.policies.ghost import Ghost, Seen
from modelplex.core.usage import Usage

HALF_LIVES_S = (1.0, 8.0, 64.0, 512.0, 4096.0, 32768.0)
FIRST = 3  # of them, until there is something to compare
SAMPLE_MAX = 400  # models in a ghost; with more, every second one is left out
LOOK_EVERY = 64  # sampled requests
FORGET = 0.5 ** (LOOK_EVERY / 1400)  # what was paid counts half after so many of them
TRUST_AFTER = 500  # sampled requests since the room was first short
BETTER = 0.98  # of what is paid now, or it is not worth a change


class Adaptive(Aging):
    """last use + h * log2(count * cost / size), where h is what would have cost least lately."""

    def __init__(self) -> None:
        super().__init__(HALF_LIVES_S[FIRST])
        self._seen: dict[str, Seen] = {}
        self._ghosts = [Ghost(half_life_s, self._seen) for half_life_s in HALF_LIVES_S]
        self._mask = 0  # who is in the sample: one in mask + 1
        self._room_bytes = 0.0  # 0.0: it was never short yet
        self._uses = 0

    def evicted(self, model: str, score: float, held_bytes: int) -> None:
        """Learn how much room there is: what is held before one has to go, at most."""
        self._room_bytes = max(0.999 * self._room_bytes, float(held_bytes))

    def watches(self, model: str) -> bool:
        """Whether it is in the sample."""
        return not crc32(model.encode()) & self._mask

    def used(self, model: str, usage: Usage, size_bytes: int, cost_s: float) -> bool:
        """Let the ghosts have it, and see now and then who does best."""
        self._seen[model] = Seen(usage.last_at, worth_of(model, usage, size_bytes, cost_s))
        without = [ghost for ghost in self._ghosts if model not in ghost.here]
        for ghost in without:
            ghost.admit(model, size_bytes, cost_s)
        if without:
            self._shrink(without)
        self._uses += bool(self._room_bytes)
        return self._uses % LOOK_EVERY == 0 and self._uses > 0 and self._look()

    def _shrink(self, grown: list[Ghost]) -> None:
        room_bytes = self._room_bytes / (self._mask + 1)
        for ghost in grown if room_bytes else ():
            for model in ghost.shrink(room_bytes):
                if not any(model in other.here for other in self._ghosts):
                    del self._seen[model]
        if any(len(ghost.here) > SAMPLE_MAX for ghost in grown):
            self._thin_out()

    def _thin_out(self) -> None:
        self._mask = 2 * self._mask + 1
        kept = {model for model in self._seen if self.watches(model)}
        for ghost in self._ghosts:
            ghost.keep(kept)
        for model in self._seen.keys() - kept:
            del self._seen[model]

    def _look(self) -> bool:
        """Follow the ghost that has paid least; whether that is another one now."""
        for ghost in self._ghosts:
            ghost.paid_s *= FORGET
        best = min(self._ghosts, key=lambda ghost: ghost.paid_s)
        now = next(g for g in self._ghosts if g.half_life_s == self.half_life_s)
        if self._uses < TRUST_AFTER or best.paid_s >= BETTER * now.paid_s:
            return False
        self.half_life_s = best.half_life_s
        return True

"""How many bytes of bodies one server holds at once, and who goes without when they are too many.

Counted is what lies in memory: bodies on their way in until they are answered, and answers that
their clients are slow to take. A body on its way in is granted room step by step, little ahead of
what has come, so that a thousand clients that send at a trickle cost what they have sent. While
three quarters are free for all, everybody goes on. Above that mark a body goes on only if there is
room for all of its rest, which is then kept for it: what has begun can end, so nothing deadlocks.
One such body there may always be, so the limit can be passed by the length of one. The others
wait, the one with the shortest rest first in line. While anybody waits, whoever holds
room and moves slower than `RATE_MIN` loses it.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush
from itertools import count
from typing import Protocol

RATE_MIN = 64 * 1024  # bytes per second: slower ones lose their room if others want it,
GRACE_S = 5.0  # but not before they had so long
WAIT_S = 10.0  # longest wait for room
STEP_MIN = 64 * 1024  # bytes; a body gets room for as much again as has come of it, at least this
STEP_MAX = 1024 * 1024  # and at most this


class Holder(Protocol):
    """Who holds room: a body that is sent to us, or an answer that is taken from us."""

    def moved(self) -> int:
        """Bytes that have come, or gone, so far."""

    def proceed(self) -> None:
        """The room that was waited for is there."""

    def evict(self, *, slow: bool) -> None:
        """It has to go, being too `slow`, or having waited too long; closes its claim."""


class Claim:
    """What one holder has of the room. `held` bytes of at most `whole`."""

    __slots__ = (
        *("closed", "held", "holder", "marked", "promised", "settled", "since", "waiting"),
        "whole",
    )

    def __init__(self, holder: Holder, whole: int, now: float) -> None:
        self.holder = holder
        self.whole = whole
        self.held = 0
        self.promised = False  # its rest is kept for it
        self.waiting = False
        self.settled = False  # it is all here: nothing has to move any more
        self.closed = False
        self.since = now  # when `moved` was looked at last, or the wait began
        self.marked = 0  # what it was then


class Room:
    """The bytes of one server."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.wait_s = WAIT_S
        self.grace_s = GRACE_S
        self.used = 0
        self.wanted = False  # somebody waits, or went without since the last look
        self._mark = limit * 3 // 4  # up to here, everybody is granted the next step
        self._promises_end = limit * 7 // 8  # the rest is for answers and for small bodies
        self._promised = 0
        self._going = 0  # claims whose rest is kept for them
        self._claims: dict[Claim, None] = {}  # oldest first
        self._line: list[tuple[int, int, Claim]] = []  # a heap: the shortest rest first
        self._numbers = count()

    def fits(self, size: int) -> bool:
        """Whether `size` more bytes may be held at once."""
        fits = self.used + self._promised + size <= self.limit
        self.wanted = self.wanted or not fits
        return fits

    def open(self, holder: Holder, whole: int, now: float) -> Claim:
        """A new claim, of nothing yet."""
        claim = Claim(holder, whole, now)
        self._claims[claim] = None
        return claim

    def take(self, claim: Claim, size: int) -> None:
        """Holds `size` more bytes, which are there already."""
        claim.held += size
        self.used += size

    def grant(self, claim: Claim, filled: int, now: float) -> bool:
        """Room for the next step of a body of which `filled` bytes are here; False: it waits."""
        if self._step(claim, filled):
            return True
        self.wanted = claim.waiting = True
        claim.since = now
        heappush(self._line, (claim.whole - claim.held, next(self._numbers), claim))
        return False

    def close(self, claim: Claim, now: float) -> None:
        """Gives back all that a claim has, which may let others go on."""
        if claim.closed:
            return
        claim.closed = True
        del claim.holder  # which knows its claim: both would stay until a collection
        del self._claims[claim]
        self.used -= claim.held
        if claim.promised:
            self._promised -= claim.whole - claim.held
            self._going -= 1
        if self._line:
            self._serve(now)

    def review(self, now: float) -> None:
        """Has those evicted that waited too long, and while room is wanted those too slow."""
        if not self.wanted:
            return
        for claim in list(self._claims):
            if not claim.closed:
                self._judge(claim, now)
        self.wanted = bool(self._line)

    # -- inside ----------------------------------------------------------------------------------

    def _judge(self, claim: Claim, now: float) -> None:
        waited = now - claim.since
        if claim.settled:
            return
        if claim.waiting:
            if waited > self.wait_s:
                claim.holder.evict(slow=False)
        elif waited > self.grace_s:
            moved = claim.holder.moved()
            if moved - claim.marked < RATE_MIN * waited:
                claim.holder.evict(slow=True)
            claim.since, claim.marked = now, moved

    def _step(self, claim: Claim, filled: int) -> bool:
        rest = claim.whole - claim.held
        ahead = max(STEP_MIN, min(filled, STEP_MAX))
        step = min(filled + ahead, claim.whole) - claim.held
        if not claim.promised and self.used + self._promised + step > self._mark:
            if not self._may_end(rest):
                return False
            self._promise(claim, rest)
        if claim.promised:
            self._promised -= step
        self.take(claim, step)
        return True

    def _may_end(self, rest: int) -> bool:
        """Whether there is room for all of it; one body may always go on, whatever there is."""
        return not self._going or self.used + self._promised + rest <= self._promises_end

    def _promise(self, claim: Claim, rest: int) -> None:
        claim.promised = True
        self._going += 1
        self._promised += rest

    def _serve(self, now: float) -> None:
        """Lets those go on for whom there is room now."""
        for claim in self._admitted(now):
            claim.holder.proceed()

    def _admitted(self, now: float) -> Iterator[Claim]:
        while self._line:
            rest, _, claim = self._line[0]
            if claim.closed:
                heappop(self._line)
            elif self._may_end(rest):
                heappop(self._line)
                claim.waiting = False
                self._promise(claim, rest)
                claim.since, claim.marked = now, claim.holder.moved()
                yield claim
            else:
                return

"""Who may go on, who waits and who has to go, when bodies are more than there is room for."""

from __future__ import annotations

import random

from modelplex.http.room import GRACE_S, RATE_MIN, STEP_MAX, WAIT_S, Claim, Room

MIB = 1024 * 1024


class Sender:
    """A body that is `filled` as far as it was granted, or as slowly as it is told."""

    def __init__(self, room: Room, whole: int, now: float = 0.0) -> None:
        self.room = room
        self.filled = 0
        self.now = now
        self.evicted: bool | None = None
        self.claim: Claim = room.open(self, whole, now)

    def moved(self) -> int:
        return self.filled

    def proceed(self) -> None:
        assert self.room.grant(self.claim, self.filled, 0.0)

    def evict(self, *, slow: bool) -> None:
        self.evicted = slow
        self.room.close(self.claim, 0.0)

    def ask(self) -> bool:
        return self.room.grant(self.claim, self.filled, self.now)

    def come(self) -> bool:
        """As far as it may; whether it is whole."""
        while not self.claim.waiting and self.filled < self.claim.whole:
            self.filled = self.claim.held
            if self.filled < self.claim.whole:
                self.ask()
        return self.filled == self.claim.whole


def test_room_is_granted_a_little_ahead_of_what_has_come() -> None:
    """A promise costs next to nothing; all is free again in the end."""
    room = Room(100 * MIB)
    senders = [Sender(room, 6 * MIB) for _ in range(500)]
    assert all(sender.ask() for sender in senders)
    assert room.used <= 500 * 64 * 1024
    assert senders[0].come()
    for sender in senders:
        room.close(sender.claim, 0.0)
        room.close(sender.claim, 0.0)
    assert room.used == 0


def test_whatever_the_order_all_bodies_end_and_the_limit_holds() -> None:
    """Half-arrived bodies never block one another for good."""
    rng = random.Random(6)
    room = Room(64 * MIB)
    waiting = [Sender(room, rng.randint(1, 8 * MIB)) for _ in range(300)]
    for sender in waiting:
        sender.ask()
    while waiting:
        moving = [sender for sender in waiting if not sender.claim.waiting]
        assert moving, "nobody can go on"
        for sender in rng.sample(moving, len(moving)):
            assert room.used <= room.limit + 8 * MIB
            sender.filled = sender.claim.held
            if sender.filled < sender.claim.whole:
                sender.ask()
            else:
                room.close(sender.claim, 0.0)
                waiting.remove(sender)
    assert room.used == 0


def test_the_shortest_rest_goes_first() -> None:
    """A small body passes by those that could only be let in together."""
    room = Room(16 * MIB)
    first, large, small = (Sender(room, size * MIB) for size in (13, 8, 3))
    assert first.ask()
    assert first.come()
    assert not large.ask()
    assert not small.ask()
    room.close(first.claim, 0.0)
    assert not large.claim.waiting
    assert not small.claim.waiting
    assert small.claim.promised
    assert small.come()
    assert large.come()


def test_one_body_may_always_go_on() -> None:
    """One that is longer than the room included; the next waits."""
    room = Room(MIB)
    giant, next_one = Sender(room, 3 * MIB), Sender(room, 3 * MIB)
    assert giant.ask()
    assert giant.come()
    assert not next_one.ask()
    room.close(giant.claim, 0.0)
    assert next_one.come()


def test_while_somebody_waits_the_slow_have_to_go() -> None:
    """Not before their time, not what is whole, and nobody while there is room."""
    room = Room(16 * MIB)
    slow, fast, whole = (Sender(room, size * MIB) for size in (6, 6, 14))
    for sender in (slow, fast, whole):
        assert sender.ask()
    assert whole.come()
    whole.claim.settled = True
    room.review(2 * GRACE_S)
    assert slow.evicted is None
    fast.filled = int(3 * GRACE_S * RATE_MIN)
    late = Sender(room, 15 * MIB, 3 * GRACE_S)
    assert not late.ask()
    room.review(3 * GRACE_S)
    assert (slow.evicted, fast.evicted, whole.evicted, late.evicted) == (True, None, None, None)
    fast.filled += STEP_MAX
    room.review(3 * GRACE_S + WAIT_S + 0.1)
    assert late.evicted is False


def test_an_answer_fits_or_does_not() -> None:
    """One that does not makes the next look one at who is slow."""
    room = Room(4 * MIB)
    reader = Sender(room, 4 * MIB)
    assert room.fits(4 * MIB)
    room.take(reader.claim, 4 * MIB)
    assert not room.fits(1)
    room.review(GRACE_S + 1)
    assert reader.evicted is True
    assert room.fits(4 * MIB)

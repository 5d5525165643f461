"""Where models are, as far as the replies have told: instances, and the copies of models there."""

from __future__ import annotations

from dataclasses import dataclass

from modelplex.core.routing.flow import Flow
from modelplex.core.routing.rendezvous import score, slot_of

_KEEPS_S = 3600.0  # what an instance is thought to keep an idle model for, before it has shown
_KEEPS_MIN_S = 1.0
_NEVER = -1


@dataclass(frozen=True, slots=True)
class Site:
    """An instance. `draining`: it is to be stopped, so it gets only what nobody else can take."""

    id: str
    healthy: bool
    draining: bool = False


class Place:
    """What is known of one instance."""

    __slots__ = ("flow", "id", "in_flight", "keeps_s", "life", "site", "usable")

    def __init__(self, site: Site, window_s: float) -> None:
        self.id = site.id
        self.site = site
        self.usable = False
        self.in_flight = 0
        self.flow = Flow(window_s)
        self.keeps_s = _KEEPS_S  # a model idle for longer has probably been evicted
        self.life = 0  # counts the times at which all that was warm may have been lost

    def learn(self, idle_s: float, was_warm: bool) -> None:
        """A model that had been idle so long was still warm, or was not: nearer to the truth."""
        if was_warm == (idle_s > self.keeps_s):
            self.keeps_s = max(_KEEPS_MIN_S, self.keeps_s + (idle_s - self.keeps_s) / 4)


class Copy:
    """One model at one instance: warm there, or on its way."""

    __slots__ = ("idle_s", "in_flight", "last_at", "life", "place", "score")

    def __init__(self, place: Place, slot: int) -> None:
        self.place = place
        self.score = score(slot, place.id)
        self.in_flight = 0
        self.last_at = 0.0
        self.idle_s = 0.0  # before the requests that are in flight now
        self.life = _NEVER  # of its place, when it was last warm there

    def is_warm(self, now: float) -> bool:
        """As far as is known."""
        place = self.place
        if self.life != place.life:
            return False
        return self.in_flight > 0 or now - self.last_at <= place.keeps_s

    def is_here(self, now: float) -> bool:
        """Warm or being loaded, at an instance that may be used."""
        return self.place.usable and (self.in_flight > 0 or self.is_warm(now))


class Known:
    """What is known of one model. `copies` are in its rendezvous order."""

    __slots__ = ("copies", "flow", "handle_s", "needed_at", "slot", "spread_after", "wanted")

    def __init__(self, model: str, window_s: float) -> None:
        self.slot = slot_of(model)
        self.copies: list[Copy] = []
        self.wanted = 1
        self.handle_s = 0.0
        self.flow = Flow(window_s)
        self.needed_at = 0.0  # when there were last no copies too many
        self.spread_after = 0.0  # a copy that failed is not tried again before

    def copy_at(self, place: Place) -> Copy | None:
        """The one there, warm or not."""
        for copy in self.copies:
            if copy.place is place:
                return copy
        return None

    def add(self, place: Place, now: float) -> Copy:
        """Another copy, at its place in the order; those that are gone are forgotten."""
        copy = Copy(place, self.slot)
        self.copies = [each for each in self.copies if each.is_here(now)]
        self.copies.append(copy)
        self.copies.sort(key=lambda each: each.score, reverse=True)
        return copy

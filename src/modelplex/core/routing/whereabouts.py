"""Where models are, as far as the replies have told: instances, and the copies of models there."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp

from modelplex.core.routing.board import mark_of
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

    __slots__ = (
        *("_heard_at", "_others", "_window_s"),
        *("flow", "id", "in_flight", "keeps_s", "life", "mark", "site", "usable"),
    )

    def __init__(self, site: Site, window_s: float) -> None:
        self._window_s = window_s
        self._others = 0.0  # the load that other gateways brought, as it last said
        self._heard_at = 0.0
        self.id = site.id
        self.mark = mark_of(site.id)
        self.site = site
        self.usable = False
        self.in_flight = 0  # from here
        self.flow = Flow(window_s)  # from here
        self.keeps_s = _KEEPS_S  # a model idle for longer has probably been evicted
        self.life = 0  # counts the times at which all that was warm may have been lost

    def hear(self, load: float, now: float) -> None:
        """It says that this is its whole load: what is not from here is from other gateways."""
        self._others = max(0.0, load - self.in_flight - self.flow.rate(now))
        self._heard_at = now

    def load(self, now: float) -> float:
        """Requests in flight and seconds of work per second, from here and from elsewhere.

        What others brought is thought to fade like work does until the instance says more.
        """
        own = self.in_flight + self.flow.rate(now)
        if not self._others:
            return own
        return own + self._others * exp(min(0.0, self._heard_at - now) / self._window_s)

    def learn(self, idle_s: float, was_warm: bool) -> None:
        """A model that had been idle so long was still warm, or was not: nearer to the truth."""
        if was_warm == (idle_s > self.keeps_s):
            self.keeps_s = max(_KEEPS_MIN_S, self.keeps_s + (idle_s - self.keeps_s) / 4)


class Copy:
    """One model at one instance: warm there, or on its way."""

    __slots__ = ("flow", "hearsay", "idle_s", "in_flight", "last_at", "life", "place", "score")

    def __init__(self, place: Place, slot: int, window_s: float) -> None:
        self.place = place
        self.flow = Flow(window_s)  # what came from here since the instance last said what came
        self.score = score(slot, place.id)
        self.in_flight = 0
        self.last_at = 0.0
        self.idle_s = 0.0  # before the requests that are in flight now
        self.life = _NEVER  # of its place, when it was last warm there
        self.hearsay = False  # warm or on its way, as others have it; nothing was answered here yet

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

    __slots__ = (
        *("_window_s", "ask_at", "copies", "handle_s", "home", "key", "needed_at", "order"),
        *("slot", "spread_after", "version", "wanted"),
    )

    def __init__(self, model: str, window_s: float, key: int = 0) -> None:
        self._window_s = window_s
        self.key = key  # on the board
        self.ask_at = 0.0  # when to look there again
        self.slot = slot_of(model)
        self.copies: list[Copy] = []
        self.wanted = 1
        self.handle_s = 0.0
        self.needed_at = 0.0  # when there were last no copies too many
        self.spread_after = 0.0  # a copy that failed is not tried again before
        self.home: Copy | None = None  # the one at the first instance of `order`
        self.order: list[str] = []
        self.version = _NEVER  # of the fleet for which both hold

    def erlangs(self, now: float) -> float:
        """The seconds of work that come to all its copies in a second, as far as is known."""
        return sum([copy.flow.rate(now) for copy in self.copies])

    def copy_at(self, place: Place) -> Copy | None:
        """The one there, warm or not."""
        for copy in self.copies:
            if copy.place is place:
                return copy
        return None

    def add(self, place: Place, now: float) -> Copy:
        """Another copy, at its place in the order; those that are gone are forgotten."""
        copy = Copy(place, self.slot, self._window_s)
        self.version = _NEVER
        self.copies = [each for each in self.copies if each.is_here(now)]
        self.copies.append(copy)
        self.copies.sort(key=lambda each: each.score, reverse=True)
        return copy

    def hear(self, place: Place, at: float, now: float) -> None:
        """Another gateway has sent a request there at that time: it is warm, or on its way."""
        copy = self.copy_at(place) or self.add(place, now)
        if copy.life != place.life:
            copy.life = place.life
            copy.last_at = at
            copy.hearsay = True

    def remove(self, copy: Copy) -> None:
        """There is none there."""
        self.copies.remove(copy)
        self.version = _NEVER

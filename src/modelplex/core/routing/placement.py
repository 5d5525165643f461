"""Where a model's requests go: one variant's instances, and what is known of the models there.

A cold model goes to the first instance of its rendezvous order that is not overloaded. Once it is
warm somewhere it stays there: replies tell what is warm where, and how long an instance keeps what
is not asked for. A model that one worker cannot carry spreads to the next instances of its order,
and withdraws from the last of them when it has been calm for a while; the copies it leaves go cold
by eviction.

Several gateways do not talk to each other. They agree on the order, hence on where nearly every
model is, and every answer says what its instance and its model there get from all gateways
together (`core/routing/tally.py`): so they agree on who is overloaded and on how many copies a hot
model has, always the first ones of the same order, as far as each was told of late. And they share
a board (`core/routing/board.py`) that says where a model was sent when the first of its order had
too much, or before it had.

Nothing here is random and `now` is an argument: the same facts lead to the same choices.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from math import ceil, inf

from modelplex.core.routing.board import Board, key_of
from modelplex.core.routing.rendezvous import ranked
from modelplex.core.routing.tally import Told
from modelplex.core.routing.variants import tier
from modelplex.core.routing.whereabouts import Copy, Known, Place, Site

__all__ = ["Placement", "PlacementLimits", "Shift", "Site"]

_ASK_S = 5.0  # how often a gateway looks whether others have the same model elsewhere
_CALM = 0.5  # of the target utilisation: with so little per copy there are too many


@dataclass(frozen=True, slots=True)
class PlacementLimits:
    """When an instance has too much, when a model needs another copy, and how much is remembered.

    The load of an instance is its requests in flight plus the seconds of work that come to it in a
    second. The load of a model is that work alone, in erlangs: 1.0 keeps one worker busy.
    """

    imbalance: float = 0.25  # more than the mean load by this share: no further cold model
    quiet_load: float = 2.0  # with less an instance is never overloaded: that is chance
    utilisation: float = 0.7  # erlangs per copy; more: another copy
    window_s: float = 3.0  # how far back work is looked at
    hold_s: float = 30.0  # a copy is given up when it was not needed for so long
    models_max: int = 100_000  # remembered; the one that was not asked for longest is forgotten
    gateways: int = 1  # that share the traffic: each sees so small a part of what is in flight


@dataclass(frozen=True, slots=True)
class Shift:
    """A model has more copies than before, or fewer, and the load (in erlangs) that led to it."""

    model: str
    copies_before: int
    copies: int
    erlangs: float


class Placement:
    """Of one variant. The one who sends the requests tells what becomes of them.

    `board` is shared with other gateways' placements of the variant, for which all have one `name`;
    `now` is then of one clock for all.
    """

    def __init__(
        self, limits: PlacementLimits | None = None, board: Board | None = None, name: str = ""
    ) -> None:
        self._limits = limits or PlacementLimits()
        self._board = board
        self._name = name
        self._marks: dict[int, Place] = {}
        self._places: dict[str, Place] = {}
        self._models: OrderedDict[str, Known] = OrderedDict()  # longest not asked for first
        self._spread: dict[str, Known] = {}  # those that want several copies
        self._orders: dict[int, list[str]] = {}  # slot -> ids, the usable ones first
        self._usable = 0
        self._version = 0  # of what is known by `update`
        self._elsewhere = 1 - 1 / self._limits.gateways  # the share of other gateways

    def update(self, sites: Sequence[Site]) -> None:
        """These are the instances now. What is known of those that stay is kept.

        One that is unhealthy may come back as a new process: what was warm there no longer counts.
        """
        if [place.site for place in self._places.values()] == list(sites):
            return
        known, self._places = self._places, {}
        for site in sites:
            place = self._places[site.id] = known.get(site.id) or Place(site, self._limits.window_s)
            if place.site.healthy and not site.healthy:
                place.life += 1
            place.site = site
            place.usable = False
        for gone in known.keys() - self._places.keys():
            known[gone].usable = False
            known[gone].life += 1
        self._use(_best(self._places.values()))

    def choose(self, model: str, now: float) -> list[str]:
        """The instances' ids, the one to try first, first; the list is not to be changed."""
        known = self._models.get(model)
        if known is not None and known.version == self._version and known.wanted == 1:
            home = known.home
            if home is not None and home.is_warm(now) and now < known.ask_at:
                return known.order  # nearly always: no need to look further
        return self._choose(model, now) if self._places else []

    def sent(self, model: str, site: str, now: float) -> Shift | None:
        """A request goes there; returns whether the model's load changes its number of copies."""
        place = self._places.get(site)
        if place is None:
            return None
        known = self._model(model)
        self._models.move_to_end(model)
        copy = known.copy_at(place) or known.add(place, now)
        if not copy.in_flight:
            copy.idle_s = now - copy.last_at
        copy.in_flight += 1
        copy.last_at = now
        place.in_flight += 1
        place.flow.add(known.handle_s, now)
        erlangs = copy.flow.add(known.handle_s, now)
        if known.wanted == 1 and len(known.copies) == 1 and erlangs <= self._limits.utilisation:
            return None
        return self._resize(model, known, now)

    def answered(
        self,
        model: str,
        site: str,
        now: float,
        start: str,
        handle_s: float,
        *,
        told: Told | None = None,
    ) -> None:
        """The request has left that instance.

        `start` is what the model was found as: "warm", "disk", "cold", or "" if that is not known
        as it failed to load or nobody waited for the answer. `handle_s` was spent in the handler.
        `told` is what the instance said of all that comes to it; None: there was no answer.
        """
        place = self._places.get(site)
        if place is None:
            return
        place.in_flight = max(0, place.in_flight - 1)
        if told is not None:
            place.hear(told.load, now)
        known = self._models.get(model)
        copy = known.copy_at(place) if known else None
        if known is None or copy is None:
            return
        copy.in_flight = max(0, copy.in_flight - 1)
        if told is not None:
            copy.flow.set(told.erlangs, now)
        if not start:
            self._failed(known, copy, now)
            return
        if copy.idle_s and copy.life == place.life:  # else nothing could have been kept, or lost
            place.learn(copy.idle_s, start == "warm")
        copy.life = place.life
        copy.hearsay = False
        copy.last_at = now
        copy.idle_s = 0.0
        known.handle_s += (handle_s - known.handle_s) * (0.2 if known.handle_s else 1.0)

    def lost(self, site: str) -> None:
        """That instance could not be reached: nothing is warm there any more."""
        if place := self._places.get(site):
            place.life += 1

    def sweep(self, now: float) -> list[Shift]:
        """To be called now and then: withdraws models that are no longer asked for at all."""
        shifts = [self._resize(model, known, now) for model, known in list(self._spread.items())]
        return [shift for shift in shifts if shift]

    def _choose(self, model: str, now: float) -> list[str]:
        known = self._model(model)
        order = self._order(known.slot)
        if self._board is None:
            first = self._pick(known, order, now)
            known.ask_at = inf
        else:
            first = self._pick_together(self._board, known, order, now)
        if first != order[0]:
            return [first, *[each for each in order if each != first]]
        known.home, known.order = known.copy_at(self._places[first]), order
        known.version = self._version
        return order

    def _pick_together(self, board: Board, known: Known, order: list[str], now: float) -> str:
        """Where other gateways have sent it lately counts like what was sent from here."""
        if now < known.ask_at and any(copy.is_here(now) for copy in known.copies):
            return self._pick(known, order, now)
        if found := board.find(known.key):
            mark, at = found
            place = self._marks.get(mark)
            if place is not None and place.usable and now - at <= place.keeps_s:
                known.hear(place, at, now)
        first = self._pick(known, order, now)
        if known.wanted == 1:
            board.note(known.key, self._places[first].mark, now)
        known.ask_at = now + _ASK_S
        return first

    def _pick(self, known: Known, order: list[str], now: float) -> str:
        here = [copy for copy in known.copies if copy.is_here(now)]
        if not here:
            return self._first_free(order, now) or order[0]
        if known.wanted == 1:
            return self._stay(here, order, now)
        warm = [copy for copy in here if copy.is_warm(now)]
        if not warm:  # being loaded: more requests do not make it come sooner elsewhere
            return here[0].place.id
        if len(here) < known.wanted and now >= known.spread_after:
            taken = [copy.place.id for copy in here]
            if another := self._first_free(order, now, taken):
                return another
        return min(warm[: known.wanted], key=lambda copy: self._pressure(copy, now)).place.id

    def _pressure(self, copy: Copy, now: float) -> tuple[float, float, int]:
        """What a request would wait for: those for the model there, then all there.

        Of other gateways' requests there are on average as many in flight as they bring erlangs.
        """
        erlangs = copy.flow.rate(now)
        return copy.in_flight + self._elsewhere * erlangs, erlangs, copy.place.in_flight

    def _stay(self, here: list[Copy], order: list[str], now: float) -> str:
        """Where it is: at the first warm copy, else where it is being loaded.

        A model that is warm at an overloaded instance, as its own was away or had too much, goes
        back up its order.
        """
        copy = here[0]
        if len(here) > 1:
            copy = next((each for each in here if each.is_warm(now)), copy)
        site = copy.place.id
        if site == order[0] or copy.hearsay or not copy.is_warm(now):
            return site
        if not self._overloaded(copy.place, now):
            return site
        return self._first_free(order[: order.index(site)], now) or site

    def _first_free(self, order: list[str], now: float, taken: Sequence[str] = ()) -> str | None:
        """The first usable instance that is not overloaded."""
        for each in islice(order, self._usable):
            if each not in taken and not self._overloaded(self._places[each], now):
                return each
        return None

    def _overloaded(self, place: Place, now: float) -> bool:
        limits = self._limits
        load = place.load(now)
        if load <= limits.quiet_load:
            return False
        total = sum([each.load(now) for each in self._places.values() if each.usable])
        return load > (1 + limits.imbalance) * total / self._usable

    def _resize(self, model: str, known: Known, now: float) -> Shift | None:
        before = known.wanted
        erlangs = known.erlangs(now)
        if before == 1 and erlangs <= self._limits.utilisation:
            return None
        known.wanted = self._fitting(known, erlangs, now)
        if known.wanted == before:
            return None
        self._note_spread(model, known)
        return Shift(model, before, known.wanted, erlangs)

    def _fitting(self, known: Known, erlangs: float, now: float) -> int:
        """The copies that the load calls for: more at once, fewer when it has long been calm."""
        limits, copies = self._limits, known.wanted
        enough = max(1, ceil(erlangs / (limits.utilisation * _CALM)))
        if enough >= copies:
            known.needed_at = now
        needed = min(ceil(erlangs / limits.utilisation), self._usable)
        if needed > copies:
            return needed if now >= known.spread_after else copies
        return enough if now - known.needed_at >= limits.hold_s else copies

    def _failed(self, known: Known, copy: Copy, now: float) -> None:
        """Forget a copy that did not come about; with others there, those do for a while."""
        if copy.in_flight or copy.is_warm(now):
            return
        known.remove(copy)
        if known.wanted > 1:
            known.spread_after = now + self._limits.hold_s

    def _model(self, model: str) -> Known:
        known = self._models.get(model)
        if known is None:
            key = key_of(self._name, model) if self._board else 0
            known = self._models[model] = Known(model, self._limits.window_s, key)
            if len(self._models) > self._limits.models_max:
                forgotten, _ = self._models.popitem(last=False)
                self._spread.pop(forgotten, None)
        return known

    def _note_spread(self, model: str, known: Known) -> None:
        if known.wanted > 1:
            self._spread[model] = known
        else:
            self._spread.pop(model, None)

    def _order(self, slot: int) -> list[str]:
        order = self._orders.get(slot)
        if order is None:
            order = ranked(slot, self._places)
            order.sort(key=lambda each: tier(self._places[each].site))  # stable: else as they were
            self._orders[slot] = order
        return order

    def _use(self, places: Sequence[Place]) -> None:
        self._orders.clear()
        self._marks = {place.mark: place for place in self._places.values()}
        self._version += 1
        self._usable = len(places)
        for place in places:
            place.usable = True


def _best(places: Iterable[Place]) -> list[Place]:
    """The places to use: those of the best tier that there is."""
    every = list(places)
    best = min([tier(place.site) for place in every], default=0)
    return [place for place in every if tier(place.site) == best]

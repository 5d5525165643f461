"""Several gateways that do not talk come to what one alone would have come to."""

from __future__ import annotations

import random

import pytest

from modelplex.core.routing.board import Board
from modelplex.core.routing.placement import Placement, PlacementLimits, Site
from modelplex.core.routing.rendezvous import ranked, slot_of
from modelplex.core.routing.tally import Told
from tests.core.routing.gateways import Fleet, fleet, poisson

SIZES = [2, 4]


def hot(gateways: int, erlangs: float, handle_s: float, seed: int) -> Fleet:
    """One model on eight instances, for long enough that all have settled."""
    world = fleet(gateways, 8, seed)
    world.play(poisson(random.Random(seed), "m", erlangs / handle_s, handle_s, 12.0))
    return world


@pytest.mark.parametrize("erlangs", [0.4, 1.0, 2.5])
@pytest.mark.parametrize("gateways", SIZES)
def test_all_want_as_many_copies_as_one_alone(gateways: int, erlangs: float) -> None:
    """Within one copy, though each sees only its part of the model's traffic."""
    for seed in range(2):
        alone = hot(1, erlangs, 0.02, seed).wanted("m")[0]
        together = hot(gateways, erlangs, 0.02, seed)
        assert all(alone - 1 <= wanted <= alone for wanted in together.wanted("m"))
        assert max(together.wanted("m")) == alone
        assert together.loads["m"] == alone


def test_copies_get_even_shares() -> None:
    """No copy is the favourite of those who have little in flight."""
    shares = sorted(hot(4, 2.5, 0.02, 1).served.values())
    assert shares[-1] < 2 * shares[0]


@pytest.mark.parametrize("gateways", SIZES)
def test_a_cold_model_is_loaded_once_though_all_ask_at_once(gateways: int) -> None:
    """On instances that have nothing to do, and no load is lost or doubled."""
    world = fleet(gateways, 6, 1)
    arrivals = [(number * 0.5 + ask * 0.0003, f"m{number}", 0.01) for number in range(40)
                for ask in range(12)]  # fmt: skip
    world.play(arrivals)
    assert set(world.loads.values()) == {1}


def test_models_that_left_an_overloaded_instance_are_followed() -> None:
    """Loads with several gateways are hardly more than with one, in a fleet that is never even."""
    loads = {}
    for gateways in (1, 4):
        world, draw, arrivals = fleet(gateways, 4, 1), random.Random(1), []
        for number in range(6):
            arrivals += poisson(draw, f"heavy-{number}", 3, 0.2, 8.0)
        for number in range(150):
            begin, model = draw.random() * 6, f"m{number}"
            later = poisson(draw, model, 1.5, 0.02, 8.0 - begin)
            arrivals += [(begin + ask * 0.0003, model, 0.02) for ask in range(6)]
            arrivals += [(begin + at, model, handle_s) for at, _, handle_s in later]
        world.play(sorted(arrivals))
        loads[gateways] = world.loads.total()
    assert loads[4] <= 1.1 * loads[1]


def test_all_give_up_copies_that_are_no_longer_needed() -> None:
    """After the calm that the limits ask for, each for itself."""
    world, draw = fleet(3, 4, 2, hold_s=2.0), random.Random(2)
    busy = poisson(draw, "m", 100, 0.02, 5.0)
    calm = [(5.0 + at, model, handle_s) for at, model, handle_s in poisson(draw, "m", 10, 0.02, 20)]
    world.play([*busy, *calm])
    assert world.wanted("m") == [1, 1, 1]


class Pair:
    """Two gateways of one board before three instances."""

    def __init__(self) -> None:
        self.board = Board(memoryview(bytearray(1 << 12)))
        self.ids = ranked(slot_of("m"), ["i-a", "i-b", "i-c"])
        self.one, self.other = self.another(), self.another()

    def another(self) -> Placement:
        placement = Placement(PlacementLimits(gateways=2), self.board, "e/v")
        self.see(placement)
        return placement

    def see(self, placement: Placement, *ill: str) -> None:
        placement.update([Site(each, each not in ill) for each in sorted(self.ids)])


def ask(placement: Placement, model: str, now: float, load: float = 0.0) -> str:
    """A request and its answer, with what the instance says of its load."""
    site = placement.choose(model, now)[0]
    placement.sent(model, site, now)
    placement.answered(model, site, now, "warm", 0.01, told=Told(load, 0.01))
    return site


def test_what_is_told_counts_and_fades() -> None:
    """An instance that others keep busy gets no cold model until nothing more is heard of it."""
    pair = Pair()
    home = pair.ids[0]
    busy = next(f"x{n}" for n in range(99) if ranked(slot_of(f"x{n}"), pair.ids)[0] == home)
    assert ask(pair.one, busy, 100.0, load=50.0) == home
    assert pair.one.choose("m", 100.0)[0] == pair.ids[1]
    assert pair.another().choose("n", 100.0) == ranked(slot_of("n"), pair.ids)
    fresh = Pair()
    ask(fresh.one, busy, 100.0, load=50.0)
    assert fresh.one.choose("m", 120.0)[0] == home


def test_a_model_is_followed_to_where_another_gateway_has_sent_it() -> None:
    """Also by one that starts later; not to an instance that may not be used."""
    pair = Pair()
    home, second, _ = pair.ids
    busy = next(f"x{n}" for n in range(99) if ranked(slot_of(f"x{n}"), pair.ids)[0] == home)
    ask(pair.one, busy, 100.0, load=50.0)
    assert ask(pair.one, "m", 100.0) == second
    assert ask(pair.other, "m", 100.1) == second
    assert ask(pair.another(), "m", 200.0) == second
    late = pair.another()
    pair.see(late, second)
    assert late.choose("m", 200.0)[0] == home


def test_gateways_that_differ_agree_within_seconds() -> None:
    """Both at once sent it to different instances: the first in its order that has it stays."""
    pair = Pair()
    home, second, _ = pair.ids
    for placement, site in ((pair.one, second), (pair.other, home)):
        placement.choose("m", 100.0)
        placement.sent("m", site, 100.0)
        placement.answered("m", site, 100.0, "cold", 0.01)
    seen = [{ask(each, "m", 100.0 + now) for each in (pair.one, pair.other)} for now in range(12)]
    assert seen[-1] == {home}

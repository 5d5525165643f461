"""Which instance a model's requests go to: by order, by load, by what is warm where."""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelplex.core.routing.board import Board
from modelplex.core.routing.placement import Placement, PlacementLimits, Shift, Site
from modelplex.core.routing.rendezvous import ranked, slot_of
from modelplex.core.routing.tally import Told

A, B, C = IDS = ("i-a", "i-b", "i-c")
MODELS = [f"m{number}" for number in range(120)]


def healthy(*ids: str) -> list[Site]:
    return [Site(each, healthy=True) for each in ids]


def order(model: str, ids: Iterable[str] = IDS) -> list[str]:
    return ranked(slot_of(model), ids)


class Traffic:
    """Sends requests where a placement says; knows what is truly loaded where."""

    def __init__(self, sites: Sequence[Site] = (), **limits: float) -> None:
        self.placement = Placement(PlacementLimits(**limits))  # type: ignore[arg-type]
        self.placement.update(list(sites) or healthy(*IDS))
        self.loaded: set[tuple[str, str]] = set()
        self.shifts: list[Shift] = []
        self.now = 1000.0

    def send(self, model: str) -> str:
        """A request on its way; the instance that it went to."""
        site = self.placement.choose(model, self.now)[0]
        if shift := self.placement.sent(model, site, self.now):
            self.shifts.append(shift)
        return site

    def answer(self, model: str, site: str, handle_s: float = 0.01) -> None:
        start = "warm" if (model, site) in self.loaded else "cold"
        self.loaded.add((model, site))
        self.placement.answered(model, site, self.now, start, handle_s)

    def ask(self, model: str, handle_s: float = 0.01) -> str:
        """A request and its answer."""
        site = self.send(model)
        self.now += handle_s
        self.answer(model, site, handle_s)
        return site

    def homes(self, models: Iterable[str] = MODELS) -> dict[str, str]:
        return {model: self.placement.choose(model, self.now)[0] for model in models}

    def warm_up(self, models: Iterable[str] = MODELS) -> dict[str, str]:
        return {model: self.ask(model) for model in models}

    def hammer(self, model: str, seconds: float, erlangs: float) -> Counter[str]:
        """So much work, evenly: 20 ms a request, one at a time at every instance."""
        until, asked = self.now + seconds, Counter[str]()
        ends: deque[tuple[float, str]] = deque()
        free_at = dict.fromkeys(IDS, self.now)
        while self.now < until:
            while ends and ends[0][0] <= self.now:
                self.answer(model, ends.popleft()[1], 0.02)
            site = self.send(model)
            asked[site] += 1
            free_at[site] = max(self.now, free_at[site]) + 0.02
            ends.append((free_at[site], site))
            ends = deque(sorted(ends))
            self.now += 0.02 / erlangs
        for _, site in ends:
            self.answer(model, site, 0.02)
        return asked


def test_a_cold_model_goes_to_the_best_of_its_order() -> None:
    """All instances follow, so that there is always somewhere to go."""
    traffic = Traffic()
    assert all(traffic.placement.choose(m, 0.0) == order(m) for m in MODELS)
    assert Placement().choose("m", 0.0) == []


def test_requests_for_a_model_being_loaded_join_it() -> None:
    """However many there are: a second load elsewhere would not be done sooner."""
    traffic = Traffic()
    assert {traffic.send("m") for _ in range(50)} == {order("m")[0]}


def test_only_the_models_of_a_lost_instance_move() -> None:
    """They move to the next of their order; when it is back nothing moves that is warm."""
    traffic = Traffic()
    before = traffic.warm_up()
    assert before == {m: order(m)[0] for m in MODELS}
    traffic.placement.update([*healthy(A, C), Site(B, healthy=False)])
    during = traffic.warm_up()
    assert during == {m: order(m, (A, C))[0] for m in MODELS}
    traffic.placement.update(healthy(*IDS))
    assert traffic.homes() == during


def test_what_was_not_asked_for_meanwhile_has_not_moved() -> None:
    """An instance that was away is where its models' artifacts are."""
    traffic = Traffic()
    before = traffic.warm_up()
    traffic.placement.update(healthy(A, C))
    traffic.placement.update(healthy(*IDS))
    assert traffic.homes() == before


def test_a_new_instance_gets_its_share_of_what_is_not_warm() -> None:
    """Warm models stay; of the others those move for which it drew highest."""
    traffic = Traffic(healthy(A, B))
    warm = traffic.warm_up(MODELS[:60])
    cold = traffic.homes(MODELS[60:])
    traffic.placement.update(healthy(*IDS))
    assert traffic.homes(MODELS[:60]) == warm
    moved = {m: site for m, site in traffic.homes(MODELS[60:]).items() if site != cold[m]}
    assert set(moved.values()) == {C}
    assert 10 <= len(moved) <= 30


def test_an_instance_that_was_unhealthy_may_have_lost_everything() -> None:
    """What had come there from another instance goes back to its own."""
    traffic = Traffic(healthy(B, C))
    away = [m for m, site in traffic.warm_up().items() if site == B and order(m)[0] == A]
    traffic.placement.update(healthy(*IDS))
    assert set(traffic.homes(away).values()) == {B}
    traffic.placement.update([*healthy(A, C), Site(B, healthy=False)])
    traffic.placement.update(healthy(*IDS))
    assert set(traffic.homes(away).values()) == {A}


def test_a_draining_instance_gives_its_models_away() -> None:
    """It is asked after all others, and before the unhealthy."""
    traffic = Traffic()
    before = traffic.warm_up()
    sites = [Site(A, healthy=True, draining=True), Site(B, healthy=False), *healthy(C)]
    traffic.placement.update(sites)
    assert all(traffic.placement.choose(m, traffic.now) == [C, A, B] for m in MODELS)
    traffic.placement.update(sites[:2])
    assert all(traffic.placement.choose(m, traffic.now) == [A, B] for m in MODELS)
    traffic.placement.update(healthy(*IDS))
    stayed = {m for m, site in traffic.homes().items() if site == before[m]}
    assert {m for m, site in before.items() if site in (A, C)} <= stayed


def test_an_instance_that_was_not_reached_has_nothing_warm() -> None:
    """A model goes on where it was answered instead."""
    traffic = Traffic()
    first, second, _ = order("m")
    assert traffic.ask("m") == first
    traffic.placement.sent("m", first, traffic.now)
    traffic.placement.lost(first)
    traffic.placement.answered("m", first, traffic.now, "", 0.0)
    traffic.placement.sent("m", second, traffic.now)
    traffic.answer("m", second)
    assert traffic.ask("m") == second


@pytest.mark.parametrize("imbalance", [0.1, 0.25, 1.0])
def test_no_instance_gets_far_more_than_the_others(imbalance: float) -> None:
    """A cold model never goes to one that has more than its share, however unlucky the order."""
    ids = [f"i-{number}" for number in range(7)]
    traffic = Traffic(healthy(*ids), imbalance=imbalance)
    busy: Counter[str] = Counter()
    names = [m for m in (f"x{number}" for number in range(3000)) if order(m, ids)[0] in ids[:2]]
    for model in names:
        busy[traffic.send(model)] += 1
        mean = busy.total() / len(ids)
        assert max(busy.values()) <= max(2, (1 + imbalance) * mean) + 1


def test_a_warm_model_stays_at_a_busy_instance_that_is_its_first() -> None:
    """It is one more cold model that the busy one does not take."""
    traffic = Traffic()
    mine = [m for m in MODELS if order(m)[0] == A]
    warm, cold = mine[0], mine[1]
    traffic.ask(warm)
    for _ in range(20):
        traffic.placement.sent("busy", A, traffic.now)
    assert traffic.ask(warm) == A
    assert traffic.ask(cold) == order(cold)[1]


def test_a_busy_instance_returns_what_is_another_ones() -> None:
    """Models that came while their first one was away go back once, and stay there."""
    traffic = Traffic()
    mine = [m for m in MODELS if order(m)[0] == A]
    traffic.placement.update([Site(A, healthy=False), *healthy(B, C)])
    away = traffic.warm_up(mine)
    traffic.placement.update(healthy(*IDS))
    model = mine[0]
    for _ in range(20):
        traffic.placement.sent("busy", away[model], traffic.now)
    assert [traffic.ask(model) for _ in range(3)] == [A, A, A]
    others = {m: site for m, site in away.items() if site != away[model]}
    assert traffic.homes(others) == others


def test_a_hot_model_has_as_many_copies_as_its_load_calls_for() -> None:
    """1.2 erlangs at 0.7 a copy: two, at the first two of its order."""
    traffic = Traffic()
    traffic.hammer("m", 10, erlangs=1.2)
    asked = traffic.hammer("m", 10, erlangs=1.2)
    assert set(asked) == set(order("m")[:2])
    assert [(s.copies_before, s.copies) for s in traffic.shifts] == [(1, 2)]
    assert traffic.shifts[0].erlangs > 0.7
    assert set(traffic.hammer("m", 20, erlangs=2.9)) == set(IDS)


def test_a_hot_model_is_balanced_by_what_waits_at_its_copies() -> None:
    """The next request goes to the copy that fewer wait for."""
    traffic = Traffic()
    traffic.hammer("m", 20, erlangs=1.2)
    assert Counter(traffic.send("m") for _ in range(10)) == dict.fromkeys(order("m")[:2], 5)


def test_a_model_that_has_cooled_withdraws_from_its_last_copies() -> None:
    """Not before it has been calm for hold_s, then to the first of its order."""
    traffic = Traffic(hold_s=30.0)
    traffic.hammer("m", 30, erlangs=3.0)
    traffic.shifts.clear()
    traffic.hammer("m", 29, erlangs=0.1)
    assert not traffic.shifts
    traffic.hammer("m", 30, erlangs=0.1)
    assert traffic.shifts[-1].copies == 1
    assert set(traffic.hammer("m", 30, erlangs=0.1)) == {order("m")[0]}


def test_a_load_at_the_edge_does_not_go_back_and_forth() -> None:
    """Between the two thresholds, and in bursts with pauses shorter than hold_s, copies stay."""
    traffic = Traffic()
    for _ in range(20):
        traffic.hammer("m", 10, erlangs=0.9)
        traffic.hammer("m", 15, erlangs=0.3)
    assert len(traffic.shifts) == 1


def test_a_model_that_nobody_asks_for_withdraws_too() -> None:
    """The sweep says so once."""
    traffic = Traffic()
    traffic.hammer("m", 20, erlangs=1.2)
    assert traffic.placement.sweep(traffic.now) == []
    (shift,) = traffic.placement.sweep(traffic.now + 100)
    assert (shift.model, shift.copies_before, shift.copies) == ("m", 2, 1)
    assert traffic.placement.sweep(traffic.now + 100) == []


def spread_with_one_warm_copy() -> Traffic:
    """A model whose load calls for two copies, and that has one."""
    traffic = Traffic()
    while not traffic.shifts:
        traffic.ask("m", handle_s=0.02)
    return traffic


def test_one_request_opens_a_copy_and_the_others_stay_with_the_warm_one() -> None:
    """Nobody else waits for the load."""
    traffic = spread_with_one_warm_copy()
    first, second, _ = order("m")
    assert [traffic.send("m") for _ in range(5)] == [second, first, first, first, first]
    traffic.answer("m", second)
    assert traffic.send("m") == second


def test_a_hot_model_that_is_nowhere_warm_is_loaded_once_first() -> None:
    """Its other copies are made when there is one that answers meanwhile."""
    traffic = spread_with_one_warm_copy()
    first, second, _ = order("m")
    traffic.placement.lost(first)
    assert {traffic.send("m") for _ in range(5)} == {first}
    traffic.loaded.clear()
    traffic.answer("m", first)
    assert traffic.send("m") == second


def test_a_copy_that_fails_is_not_tried_again_for_a_while() -> None:
    """One caller got its error; the next ones go to the copy that works."""
    traffic = spread_with_one_warm_copy()
    first, second, _ = order("m")
    assert traffic.send("m") == second
    traffic.placement.answered("m", second, traffic.now, "", 0.0)
    assert {traffic.ask("m") for _ in range(1000)} == {first}
    traffic.now += 30
    traffic.hammer("m", 10, erlangs=1.2)
    assert (("m", second)) in traffic.loaded


def test_it_is_learned_how_long_an_instance_keeps_what_is_idle() -> None:
    """A model that has probably been evicted where it is comes home instead."""
    traffic = Traffic()
    traffic.placement.update(healthy(B, C))
    away = [m for m, site in traffic.warm_up().items() if site == B and order(m)[0] == A]
    for _ in range(60):  # B keeps nothing for ten seconds
        traffic.now += 10
        traffic.loaded.clear()
        traffic.ask(away[1])
    traffic.placement.update(healthy(*IDS))
    traffic.ask(away[1])
    assert traffic.ask(away[1]) == B
    assert traffic.ask(away[0]) == A


def test_the_models_longest_unasked_for_are_forgotten() -> None:
    """Their requests may still be answered, and they are placed as new ones are."""
    traffic = Traffic(models_max=10)
    site = traffic.send("m")
    traffic.warm_up()
    traffic.answer("m", site)
    assert len(traffic.placement._models) == 10
    assert traffic.ask("m") == order("m")[0]


IDS_OF_FIVE = [f"i-{number}" for number in range(5)]
SITES = st.lists(
    st.builds(Site, st.sampled_from(IDS_OF_FIVE), st.booleans(), st.booleans()),
    min_size=1,
    max_size=5,
    unique_by=lambda site: site.id,
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("update"), SITES),
        st.tuples(st.just("ask"), st.integers(0, 5)),
        st.tuples(st.just("answer"), st.sampled_from(["warm", "disk", "cold", ""])),
        st.tuples(st.just("lose"), st.sampled_from(IDS_OF_FIVE)),
        st.tuples(st.just("wait"), st.floats(-1, 100)),
    ),
    max_size=60,
)


def play(steps: list[tuple[str, object]], seed: int) -> list[list[str]]:
    """Every choice of a history, each checked."""
    board = Board(memoryview(bytearray(256))) if seed % 2 else None
    placement = Placement(PlacementLimits(models_max=4, gateways=1 + seed % 2), board)
    draw = random.Random(seed)
    now, open_requests, choices = 0.0, list[tuple[str, str]](), list[list[str]]()
    sites: list[Site] = []
    for kind, value in steps:
        match kind, value:
            case "update", list():
                sites = value
                placement.update(sites)
            case "ask", int():
                model = f"m{value}"
                chosen = placement.choose(model, now)
                choices.append(list(chosen))
                check(chosen, sites)
                if chosen:
                    assert board or placement._choose(model, now) == chosen  # the long way, too
                    placement.sent(model, chosen[0], now)
                    open_requests.append((model, chosen[0]))
            case "answer", str() if open_requests:
                model, site = open_requests.pop(draw.randrange(len(open_requests)))
                told = Told(draw.random() * 20, draw.random()) if board else None
                placement.answered(model, site, now, value, draw.random(), told=told)
            case "lose", str():
                placement.lost(value)
            case "wait", float():
                now += value
                placement.sweep(now)
    for model, site in open_requests:
        placement.answered(model, site, now, "", 0.0)
    assert all(place.in_flight == 0 for place in placement._places.values())
    return choices


def check(chosen: list[str], sites: list[Site]) -> None:
    """Every instance once, the good ones first."""
    assert sorted(chosen) == sorted(site.id for site in sites)
    tiers = {s.id: 2 if not s.healthy else int(s.draining) for s in sites}
    assert [tiers[each] for each in chosen] == sorted(tiers.values())


@settings(max_examples=80, deadline=None)
@given(STEPS, st.integers(0, 9))
def test_any_history_is_survived_and_repeatable(steps: list[tuple[str, object]], seed: int) -> None:
    """Whatever comes, goes, is lost or answered: always an order, always the same one."""
    assert play(steps, seed) == play(steps, seed)

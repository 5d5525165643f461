"""One fact at a time: what is ordered, in which order, and what is left alone."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from modelplex.core.events import (
    Abandoned,
    Answered,
    Cancel,
    Crashed,
    Drop,
    Dropped,
    Fact,
    Fetch,
    Fetched,
    FetchFailed,
    FetchOverran,
    Forward,
    GiveUp,
    Invoked,
    Load,
    Loaded,
    LoadFailed,
    Measured,
    OutOfMemory,
    Reason,
    Recovered,
    Refusal,
    Reject,
    Resized,
    Tick,
    Unload,
    Unloaded,
    Wanted,
)
from modelplex.core.residency import Limits, Residency

# Room for two models of 40 in memory and for four of 20 on the disk.
LIMITS = Limits(
    memory_bytes=100,
    disk_bytes=80,
    fetches_max=4,
    loads_max=2,
    memory_guess_bytes=40,
    tenure_max_s=0.0,
    policy="lru",
)


@pytest.fixture
def here() -> Residency:
    return Residency(LIMITS)


def tell(here: Residency, *facts: Fact, now: float = 0.0) -> list[object]:
    """The orders that follow from facts, with all invariants checked in between."""
    orders: list[object] = []
    for fact in facts:
        orders += here.handle(fact, now)
        here.check()
    return orders


def load(here: Residency, model: str, request: int, memory: int = 40, now: float = 0.0) -> None:
    """Bring a model to memory with a request that is answered."""
    tell(here, Recovered(model, 20), Invoked(request, model), now=now)
    orders = tell(here, Loaded(model, memory), Answered(request), now=now)
    assert orders == [Forward(request, model)]


def state(here: Residency, model: str) -> str:
    return {row.model: row.state for row in here.snapshot()}.get(model, "absent")


# -- the way to an answer -------------------------------------------------------------------------


def test_a_cold_request_fetches_loads_and_is_forwarded(here: Residency) -> None:
    """One step at a time, each with its reservation."""
    assert tell(here, Invoked(1, "a")) == [Fetch("a", 20)]
    assert tell(here, Fetched("a", 15)) == [Load("a", 40)]
    assert tell(here, Loaded("a", 30)) == [Forward(1, "a")]
    assert tell(here, Answered(1)) == []
    assert (here.disk.used_bytes, here.memory.used_bytes) == (15, 30)


def test_a_warm_request_is_forwarded_at_once(here: Residency) -> None:
    """The path that has to be fast has no other order on it."""
    load(here, "a", 1)
    assert tell(here, Invoked(2, "a")) == [Forward(2, "a")]


def test_many_requests_for_a_cold_model_cause_one_fetch_and_one_load(here: Residency) -> None:
    """And they are answered one by one in order of arrival."""
    assert tell(here, *(Invoked(i, "a") for i in range(200))) == [Fetch("a", 20)]
    assert tell(here, Fetched("a", 15), Loaded("a", 30)) == [Load("a", 40), Forward(0, "a")]
    orders = tell(here, *(Answered(i) for i in range(200)))
    assert orders == [Forward(i, "a") for i in range(1, 200)]


def test_a_worker_takes_as_many_at_once_as_it_may() -> None:
    """With a concurrency of 2, two are forwarded and the third waits."""
    here = Residency(replace(LIMITS, concurrency=2))
    load(here, "a", 1)
    orders = tell(here, *(Invoked(i, "a") for i in (2, 3, 4)))
    assert orders == [Forward(2, "a"), Forward(3, "a")]
    assert tell(here, Answered(3)) == [Forward(4, "a")]


def test_a_brisk_worker_gets_some_ahead_of_their_turn() -> None:
    """As long as its answers take next to no time, each counted from when its turn came."""
    here = Residency(replace(LIMITS, concurrency_brisk=3))
    load(here, "a", 1)  # answered at once: nothing is known of its time yet
    assert tell(here, *(Invoked(i, "a") for i in (2, 3)), now=1.0) == [Forward(2, "a")]
    assert tell(here, Answered(2), now=1.0005) == [Forward(3, "a")]
    orders = tell(here, *(Invoked(i, "a") for i in (4, 5, 6)), now=1.0006)
    assert orders == [Forward(4, "a"), Forward(5, "a")]
    assert tell(here, Answered(3), now=1.001) == [Forward(6, "a")]
    tell(here, Answered(4), now=1.0015)
    assert here.here.models["a"].usage.handle_s == pytest.approx(0.0005)
    assert tell(here, Answered(5), now=2.0) == []
    orders = tell(here, *(Invoked(i, "a") for i in (7, 8)), now=2.0)
    assert orders == []  # it has one, and is not brisk any more


def test_what_was_found_on_the_disk_is_not_fetched(here: Residency) -> None:
    """A restart costs loads, not downloads."""
    assert tell(here, Recovered("a", 20)) == []
    assert tell(here, Invoked(1, "a")) == [Load("a", 40)]


def test_fetches_and_loads_at_once_are_limited(here: Residency) -> None:
    """Four fetches, two loads; the rest wait in order."""
    orders = tell(here, *(Invoked(i, f"m{i}") for i in range(5)))
    assert [order.model for order in orders] == ["m0", "m1", "m2", "m3"]
    orders = tell(here, *(Fetched(f"m{i}", 2) for i in (3, 1, 0)))
    assert [type(order).__name__ for order in orders] == ["Fetch", "Load", "Load"]


def test_full_queues_refuse_at_once() -> None:
    """A model's queue and the instance's both have an end."""
    here = Residency(replace(LIMITS, queue_per_model_max=1, queue_max=2))
    tell(here, Invoked(1, "a"))
    assert tell(here, Invoked(2, "a")) == [Reject(2, Refusal.QUEUE_FULL, None, 1.0)]
    tell(here, Invoked(3, "b"))
    assert tell(here, Invoked(4, "c")) == [Reject(4, Refusal.QUEUE_FULL, None, 1.0)]


# -- time -----------------------------------------------------------------------------------------


def test_a_model_that_is_not_ready_in_time_is_loaded_all_the_same(here: Residency) -> None:
    """The request is refused after 60 s, the fetch goes on, and a retry finds the model."""
    tell(here, Invoked(1, "a"))
    assert here.next_deadline(1.0) == 60.0
    assert tell(here, Tick(), now=60.0) == [Reject(1, Refusal.NOT_READY, None, 1.0)]
    assert tell(here, Fetched("a", 15), now=70.0) == [Load("a", 40)]
    assert tell(here, Loaded("a", 30), Invoked(2, "a"), now=71.0) == [Forward(2, "a")]


def test_requests_that_wait_for_a_busy_model_have_a_time_of_their_own(here: Residency) -> None:
    """Only the way to memory has that deadline."""
    load(here, "a", 1)
    tell(here, Invoked(2, "a"), Invoked(3, "a"))
    assert here.next_deadline(0.0) == LIMITS.queue_wait_max_s


def test_a_load_that_takes_too_long_is_cancelled(here: Residency) -> None:
    """Fetch and load together have 360 s; who comes a minute after gets a try of its own."""
    tell(here, Invoked(1, "a"))
    tell(here, Fetched("a", 15), now=50.0)
    tell(here, Tick(), now=60.0)
    tell(here, Invoked(2, "a"), now=310.0)
    refused = Reject(2, Refusal.FAILED, "it was not loaded within 360 seconds")
    assert tell(here, Tick(), now=360.0) == [Cancel("a"), refused]
    again = replace(refused, request=3, retry_after_s=59.0)
    assert tell(here, Invoked(3, "a"), now=361.0) == [again]
    assert tell(here, Invoked(4, "a"), now=421.0) == []
    assert tell(here, LoadFailed("a", "cancelled"), now=422.0) == [Load("a", 40)]


def test_who_was_told_to_come_back_hears_why_it_was_in_vain(here: Residency) -> None:
    """A load that fails after the 60 s is remembered for a minute; then the next try begins."""
    tell(here, Invoked(1, "a"))
    assert tell(here, Tick(), now=60.0) == [Reject(1, Refusal.NOT_READY, None, 1.0)]
    assert tell(here, FetchFailed("a", "no such key"), now=70.0) == []
    refused = Reject(2, Refusal.FAILED, "no such key", 40.0)
    assert tell(here, Invoked(2, "a"), now=90.0) == [refused]
    assert tell(here, Invoked(3, "a"), now=131.0) == [Fetch("a", 20)]


def test_the_first_load_of_all_is_not_guessed_below_its_artifact(here: Residency) -> None:
    """What lies on the disk is at least read, however little is usually set aside."""
    tell(here, Invoked(1, "a"))
    assert tell(here, Fetched("a", 60)) == [Load("a", 60)]


def test_the_wait_for_room_does_not_count_as_loading() -> None:
    """A model is given up for being slow, not for having stood in line."""
    here = Residency(replace(LIMITS, model_ready_timeout_s=1e6))
    load(here, "a", 1, memory=90)
    tell(here, Invoked(2, "a"), Invoked(3, "b"))
    tell(here, Fetched("b", 15), now=10.0)
    tell(here, Answered(2), now=1000.0)
    tell(here, Unloaded("a"), now=1000.0)
    assert here.next_deadline(1000.0) == 1000.0 + 350.0


# -- setbacks -------------------------------------------------------------------------------------


def test_a_failed_fetch_refuses_all_who_wait_and_leaves_nothing(here: Residency) -> None:
    """A name that somebody made up is not even remembered."""
    tell(here, Invoked(1, "a"), Invoked(2, "a"))
    orders = tell(here, FetchFailed("a", "no such key", passing=True))
    assert orders == [Reject(i, Refusal.FAILED, "no such key") for i in (1, 2)]
    assert repr(here) == "<Residency 0 models: 0 loaded, 0 loading | 0 in flight, 0 waiting>"
    assert tell(here, Invoked(3, "a")) == [Fetch("a", 20)]


@pytest.mark.parametrize("how", [LoadFailed("a", "bad handler"), Crashed("a", "bad handler")])
def test_a_failed_load_leaves_the_model_on_the_disk(here: Residency, how: Fact) -> None:
    """The next request tries to load it again, without a download."""
    tell(here, Recovered("a", 20), Invoked(1, "a"))
    assert tell(here, how) == [Reject(1, Refusal.FAILED, "bad handler")]
    assert state(here, "a") == "on_disk"
    assert tell(here, Invoked(2, "a")) == [Load("a", 40)]


def test_out_of_memory_doubles_the_reservation_until_nothing_is_left(here: Residency) -> None:
    """40, 80, all of it; then the requests are told, and the next one starts small again."""
    tell(here, Recovered("a", 20))
    assert tell(here, Invoked(1, "a")) == [Load("a", 40)]
    assert tell(here, OutOfMemory("a")) == [Load("a", 80)]
    assert tell(here, OutOfMemory("a")) == [Load("a", 100)]
    refused = Reject(1, Refusal.OUT_OF_MEMORY, "it needs more than 100 bytes", 1.0)
    assert tell(here, OutOfMemory("a")) == [refused]
    assert tell(here, Invoked(2, "a"), now=1.0) == [Load("a", 40)]


def test_a_model_larger_than_the_memory_is_not_tried_all_the_time(here: Residency) -> None:
    """Each try makes others go, so there is a pause as long as the last one took; here 5 s."""
    load(here, "small", 9)
    tell(here, Recovered("a", 20), Invoked(1, "a"), OutOfMemory("a"), Unloaded("small"))
    refused = (Refusal.OUT_OF_MEMORY, "it needs more than 100 bytes")
    assert tell(here, OutOfMemory("a"), now=5.0) == [Reject(1, *refused, 5.0)]
    assert tell(here, Invoked(2, "a"), now=9.5) == [Reject(2, *refused, 1.0)]
    assert tell(here, Invoked(3, "small"), now=9.9) == [Load("small", 44)]
    assert tell(here, Loaded("small", 40), Invoked(4, "a"), now=10.0)[1:] == [Load("a", 60)]
    assert tell(here, Loaded("a", 40), Crashed("a", "gone"), Invoked(5, "a"), now=10.0)[1:] == [
        Load("a", 44)
    ]


@pytest.mark.parametrize(("took_s", "pause_s"), [(0.0, 1.0), (300.0, 60.0)])
def test_that_pause_is_neither_nothing_nor_for_ever(
    here: Residency, took_s: float, pause_s: float
) -> None:
    """At least a second; at most a minute, in which somebody may have made room."""
    tell(here, Invoked(1, "a"))
    sentence = "its files need at least 81 bytes, and the disk has 80"
    refused = Reject(1, Refusal.FAILED, sentence, pause_s)
    assert tell(here, FetchOverran("a", 81), now=took_s)[-1:] == [refused]
    end = took_s + pause_s
    again = replace(refused, request=2, retry_after_s=1.0)
    assert tell(here, Invoked(2, "a"), now=end - 0.5) == [again]
    assert tell(here, Invoked(3, "a"), now=end) == [Fetch("a", 20)]


def test_that_pause_grows_with_every_try_until_the_model_loads(here: Residency) -> None:
    """Twice as long each time, at most a minute; after a load it is as short as ever."""

    def tried(request: int, now: float) -> float:
        """The pause after a try in vain."""
        orders = tell(here, Invoked(request, "a"), now=now)
        while isinstance(orders[-1], Load):
            orders = tell(here, OutOfMemory("a"), now=now)
        (refused,) = orders
        assert isinstance(refused, Reject)
        return refused.retry_after_s

    now = 0.0
    tell(here, Recovered("a", 20))
    for request, pause_s in enumerate((1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0)):
        assert tried(request, now) == pause_s
        now += pause_s
    tell(here, Invoked(98, "a"), Loaded("a", 50), Answered(98), Crashed("a", "gone"), now=now)
    assert tried(99, now) == 1.0


def test_out_of_memory_makes_others_go(here: Residency) -> None:
    """507 of a container: unload somebody, try again."""
    load(here, "a", 1)
    tell(here, Recovered("b", 20), Invoked(2, "b"))
    assert tell(here, OutOfMemory("b")) == [Unload("a", Reason.MEMORY, "b")]
    assert tell(here, Unloaded("a")) == [Load("b", 100)]


def test_what_was_needed_once_is_reserved_the_next_time(here: Residency) -> None:
    """A load that peaks above what the model takes later does not run out of memory every time."""
    tell(here, Recovered("a", 20), Invoked(1, "a"), OutOfMemory("a"))
    tell(here, Loaded("a", 30), Answered(1), Crashed("a", "gone"))
    assert tell(here, Invoked(2, "a")) == [Load("a", 80)]


def test_an_overrun_fetches_again_with_more_room(here: Residency) -> None:
    """At least twice as much, and at least what is known to be needed."""
    assert tell(here, Invoked(1, "a")) == [Fetch("a", 20)]
    assert tell(here, FetchOverran("a", 21)) == [Fetch("a", 40)]
    assert tell(here, FetchFailed("a", "reset"), Invoked(2, "b")) == [
        Reject(1, Refusal.FAILED, "reset"),
        Fetch("b", 20),
    ]
    assert tell(here, FetchOverran("b", 65)) == [Fetch("b", 65)]


def test_an_artifact_larger_than_the_disk_is_refused(here: Residency) -> None:
    """Either because it says so, or because the whole disk was not enough."""
    sentence = "its files need at least 81 bytes, and the disk has 80"
    tell(here, Invoked(1, "a"))
    assert tell(here, FetchOverran("a", 81)) == [Reject(1, Refusal.FAILED, sentence, 1.0)]
    tell(here, Invoked(2, "b"), FetchOverran("b", 80))
    assert tell(here, FetchOverran("b", 81)) == [Reject(2, Refusal.FAILED, sentence, 1.0)]


def test_a_crash_gives_memory_back_and_the_queue_waits_for_a_reload(here: Residency) -> None:
    """What was forwarded is answered by the shell, before or after the crash is known."""
    load(here, "a", 1)
    tell(here, Invoked(2, "a"), Invoked(3, "a"))
    assert tell(here, Crashed("a", "segfault"), now=5.0) == [Load("a", 44)]
    tell(here, Tick(), now=LIMITS.queue_wait_max_s)  # of the wait for the worker that died
    assert here.next_deadline(30.0) == 65.0
    assert tell(here, Answered(2)) == []
    assert tell(here, Loaded("a", 40), now=31.0) == [Forward(3, "a")]


def test_an_idle_crash_frees_memory_and_nothing_else(here: Residency) -> None:
    """Nobody wants the model, so nobody brings it back."""
    load(here, "a", 1)
    assert tell(here, Crashed("a", "segfault")) == []
    assert (here.memory.used_bytes, state(here, "a")) == (0, "on_disk")


# -- clients that go away -------------------------------------------------------------------------


def test_an_abandoned_request_is_never_forwarded(here: Residency) -> None:
    """The others keep their order."""
    tell(here, *(Invoked(i, "a") for i in (1, 2, 3)), Fetched("a", 15))
    assert tell(here, Abandoned(1), Abandoned(2)) == []
    assert tell(here, Loaded("a", 30)) == [Forward(3, "a")]


def test_an_abandoned_place_in_line_goes_to_the_next(here: Residency) -> None:
    """Nothing is evicted or loaded for somebody who has left."""
    load(here, "a", 1, memory=90)
    tell(here, Recovered("b", 20), Recovered("c", 20), Invoked(2, "a"))
    tell(here, Invoked(3, "b"), Invoked(4, "c"))
    tell(here, Abandoned(3), Answered(2))
    assert tell(here, Unloaded("a")) == [Load("c", 100)]


def test_abandoning_a_forwarded_or_finished_request_changes_nothing(here: Residency) -> None:
    """Its answer is on the way, and frees the worker when it comes."""
    load(here, "a", 1)
    tell(here, Invoked(2, "a"), Invoked(3, "a"))
    assert tell(here, Abandoned(2), Abandoned(1)) == []
    assert tell(here, Answered(2)) == [Forward(3, "a")]


# -- who has to go --------------------------------------------------------------------------------


def test_the_least_recently_used_goes(here: Residency) -> None:
    """And only when the new one cannot fit beside it."""
    load(here, "a", 1, now=1.0)
    load(here, "b", 2, now=2.0)
    tell(here, Invoked(3, "a"), Answered(3), Recovered("c", 20), now=3.0)
    assert tell(here, Invoked(4, "c"), now=9.0) == [Unload("b", Reason.MEMORY, "c")]
    assert tell(here, Unloaded("b"), now=9.0) == [Load("c", 60)]


def test_an_idle_model_goes_before_a_busy_one(here: Residency) -> None:
    """Even where the busy one was used longer ago."""
    load(here, "a", 1)
    load(here, "b", 2)
    tell(here, Invoked(3, "a"), Invoked(4, "b"), Answered(4), Recovered("c", 20))
    assert tell(here, Invoked(5, "c")) == [Unload("b", Reason.MEMORY, "c")]


def test_a_busy_victim_is_drained_and_comes_back_behind_the_others(here: Residency) -> None:
    """What was forwarded is answered; what waits or comes waits as if the model were cold."""
    load(here, "a", 1, memory=90)
    tell(here, Recovered("b", 20), Invoked(2, "a"), Invoked(3, "a"))
    assert tell(here, Invoked(4, "b"), Invoked(5, "a"), now=5.0) == []
    assert state(here, "a") == "draining"
    assert tell(here, Answered(2), now=6.0) == [Unload("a", Reason.MEMORY, "b")]
    assert tell(here, Unloaded("a"), now=7.0) == [Load("b", 100)]
    assert tell(here, Loaded("b", 90), now=8.0) == [Forward(4, "b")]
    assert tell(here, Answered(4), Unloaded("b"), now=9.0) == [
        Unload("b", Reason.MEMORY, "a"),
        Load("a", 99),
    ]
    assert tell(here, Loaded("a", 90), now=9.0) == [Forward(3, "a")]


def test_a_busy_model_has_its_tenure_first() -> None:
    """It keeps its place as long as it took to load, though no longer than the limit."""
    here = Residency(replace(LIMITS, tenure_max_s=1.0))
    tell(here, Recovered("a", 20), Recovered("b", 20), Invoked(1, "a"), Invoked(2, "a"))
    tell(here, Loaded("a", 90), now=5.0)
    tell(here, Invoked(3, "b"), now=5.1)
    assert here.next_deadline(5.1) == 6.0
    assert tell(here, Answered(1), now=5.2) == [Forward(2, "a")]
    assert tell(here, Tick(), now=6.0) == []
    assert tell(here, Answered(2), now=6.1) == [Unload("a", Reason.MEMORY, "b")]


def test_a_tenure_ends_when_there_is_no_more_work() -> None:
    """An idle model is no use to anybody."""
    here = Residency(replace(LIMITS, tenure_max_s=1.0))
    tell(here, Recovered("a", 20), Recovered("b", 20), Invoked(1, "a"))
    tell(here, Loaded("a", 90), Invoked(2, "b"), now=5.0)
    assert tell(here, Answered(1), now=5.1) == [Unload("a", Reason.MEMORY, "b")]


def test_nobody_goes_for_one_that_cannot_fit_even_so(here: Residency) -> None:
    """While a large load is under way, evicting the small one would not be enough."""
    load(here, "a", 1, memory=10)
    tell(here, Recovered("b", 20), Recovered("c", 35), Invoked(2, "b"), OutOfMemory("b"))
    assert here.memory.of("b") == 60
    assert tell(here, Invoked(3, "c")) == []
    assert state(here, "a") == "loaded"


def test_a_small_one_does_not_overtake_a_large_one(here: Residency) -> None:
    """There would be room for it all the time, and never for the other."""
    load(here, "a", 1, memory=50)
    tell(here, Recovered("big", 60), Recovered("s", 0), Invoked(2, "a"))
    assert tell(here, Invoked(3, "big"), Invoked(4, "s")) == []
    assert tell(here, Answered(2)) == [Unload("a", Reason.MEMORY, "big")]
    orders = tell(here, Unloaded("a"))
    assert [(type(order), order.model) for order in orders] == [(Load, "big")]


def test_growth_beyond_the_budget_makes_others_go(here: Residency) -> None:
    """A model may take more than it reserved; the sum may not stay so."""
    load(here, "a", 1)
    load(here, "b", 2)
    tell(here, Invoked(3, "a"))
    assert tell(here, Measured("a", 70)) == [Unload("b", Reason.OVER_BUDGET)]


def test_a_model_larger_than_the_budget_goes_itself(here: Residency) -> None:
    """After it has answered."""
    load(here, "a", 1)
    tell(here, Invoked(2, "a"))
    assert tell(here, Measured("a", 101)) == []
    assert tell(here, Answered(2)) == [Unload("a", Reason.OVER_BUDGET)]


def test_a_smaller_memory_makes_others_go(here: Residency) -> None:
    """The least recently used, idle ones at once; what comes back is there for who waits."""
    load(here, "a", 1)
    load(here, "b", 2)
    tell(here, Invoked(3, "a"), Recovered("c", 20))
    assert tell(here, Resized(60)) == [Unload("b", Reason.OVER_BUDGET)]
    assert tell(here, Unloaded("b"), Invoked(4, "c")) == []
    assert tell(here, Resized(100)) == [Load("c", 60)]


def test_a_full_disk_drops_what_only_lies_there(here: Residency) -> None:
    """The one that left memory longest ago."""
    load(here, "a", 1, memory=10)
    tell(here, Recovered("b", 20), Recovered("c", 20), Recovered("d", 20))
    orders = tell(here, Invoked(2, "e"))
    assert orders == [Drop("b", Reason.DISK, "e"), Drop("c", Reason.DISK, "e")]
    assert tell(here, Dropped("b"), Dropped("c")) == [Fetch("e", 30)]


def test_a_disk_full_of_loaded_models_unloads_one_to_drop_it(here: Residency) -> None:
    """Files of a loaded model are in use, so it has to leave memory first."""
    for number, model in enumerate("abc"):
        load(here, model, number, memory=10)
    assert tell(here, Invoked(9, "e")) == [Unload("a", Reason.DISK, "e")]
    assert tell(here, Unloaded("a")) == [Drop("a", Reason.DISK, "e")]
    assert tell(here, Dropped("a")) == [Fetch("e", 30)]


def test_a_request_during_a_drop_fetches_again(here: Residency) -> None:
    """It waits until the old files are gone."""
    tell(here, *(Recovered(model, 20) for model in "abcd"), Invoked(1, "e"))
    assert tell(here, Invoked(2, "a"), Dropped("a")) == []
    assert tell(here, Dropped("b")) == [Fetch("e", 30), Drop("c", Reason.DISK, "a")]


def test_a_smaller_disk_after_a_restart_is_obeyed(here: Residency) -> None:
    """What does not fit any more is dropped."""
    tell(here, *(Recovered(model, 20) for model in "abcd"))
    assert tell(here, Recovered("e", 20)) == [Drop("a", Reason.OVER_BUDGET)]


# -- room on the disk, among those who wait -------------------------------------------------------


def test_the_disk_waits_for_what_leaves_memory_already(here: Residency) -> None:
    """Nobody else has to go if that is enough."""
    load(here, "a", 1)
    load(here, "b", 2)
    tell(here, Recovered("x", 20), Invoked(3, "x"))
    assert state(here, "a") == "unloading"
    assert tell(here, Invoked(4, "y")) == []
    assert tell(here, Unloaded("a"))[0] == Drop("a", Reason.DISK, "y")


def test_the_disk_waits_for_a_drained_model_that_is_wanted_again(here: Residency) -> None:
    """Its new requests came later, so its files make place for the older one all the same."""
    load(here, "a", 1)
    load(here, "b", 2)
    tell(here, Invoked(3, "a"), Invoked(4, "b"), Recovered("x", 20), Invoked(5, "x"))
    assert tell(here, Invoked(6, "y"), Invoked(7, "a"), Tick()) == []
    assert (state(here, "a"), state(here, "b")) == ("draining", "loaded")
    orders = tell(here, Answered(3), Unloaded("a"))
    assert orders == [
        Unload("a", Reason.MEMORY, "x"),
        Drop("a", Reason.DISK, "y"),
        Load("x", 60),
    ]


def test_files_of_one_who_has_waited_longer_are_not_dropped() -> None:
    """An older ticket is loaded before a younger one gets its place on the disk."""
    here = Residency(replace(LIMITS, disk_bytes=40))
    load(here, "a", 1, memory=90)
    tell(here, Recovered("x", 20), Invoked(2, "a"), Invoked(3, "x"))
    assert tell(here, Invoked(4, "y")) == []
    tell(here, Answered(2))
    assert Load("x", 100) in tell(here, Unloaded("a"))


def test_files_of_one_who_came_later_are(here: Residency) -> None:
    """Else two models that take turns in memory could keep a third off the disk for ever."""
    load(here, "a", 1, memory=90)
    assert tell(here, Invoked(2, "a"), Invoked(3, "y")) == [Forward(2, "a"), Fetch("y", 30)]
    tell(here, Recovered("x", 30), Invoked(4, "x"))
    assert tell(here, FetchOverran("y", 50)) == [Drop("x", Reason.DISK, "y")]


def test_nobody_younger_is_loaded_while_the_disk_has_no_room_for_the_oldest(
    here: Residency,
) -> None:
    """What is loading cannot make room; loads one after another would keep it waiting for ever."""
    load(here, "b", 1, memory=10)
    tell(here, Recovered("a", 20), Recovered("c", 20), Invoked(2, "a"))
    tell(here, Invoked(3, "big"))
    tell(here, Dropped("c"), FetchOverran("big", 80))
    assert state(here, "big") == "absent"
    tell(here, Invoked(4, "b"))
    assert tell(here, Crashed("b", "gone"), Invoked(5, "b")) == []
    assert len([row for row in here.snapshot() if row.state == "loading"]) == 1


def test_the_line_moves_on_when_its_first_has_left(here: Residency) -> None:
    """Somebody small may find the room that was not enough."""
    for number, (model, memory) in enumerate({"a": 40, "big": 90, "c": 20}.items()):
        load(here, model, number, memory)
        tell(here, Crashed(model, "gone"))
    assert tell(here, Invoked(4, "a"), Invoked(5, "big"), Invoked(6, "c")) == [Load("a", 44)]
    assert tell(here, Abandoned(5)) == [Load("c", 22)]


# -- memory of its own -----------------------------------------------------------------------------


def test_sizes_of_models_that_are_gone_are_remembered_though_not_of_all() -> None:
    """Of a million names, those used last, and pinned ones anyway."""
    here = Residency(replace(LIMITS, cache_enabled=False, remembered_max=3))
    tell(here, Wanted("pinned"), FetchFailed("pinned", "gone"))
    for number, model in enumerate("abac"):
        tell(here, Invoked(number, model), Fetched(model, 10), Loaded(model, 10))
        tell(here, Answered(number), Unloaded(model), Dropped(model))
    assert list(here.here.models) == ["pinned", "a", "c"]
    assert tell(here, Invoked(10, "a"), Invoked(11, "b")) == [Fetch("a", 11), Fetch("b", 17)]


# -- settings -------------------------------------------------------------------------------------


def test_without_a_cache_a_model_leaves_after_its_last_answer() -> None:
    """From memory and from the disk; not between two requests that wait already."""
    here = Residency(replace(LIMITS, cache_enabled=False))
    tell(here, Invoked(1, "a"), Invoked(2, "a"), Fetched("a", 15), Loaded("a", 30))
    assert tell(here, Answered(1)) == [Forward(2, "a")]
    assert tell(here, Answered(2)) == [Unload("a", Reason.UNCACHED)]
    assert tell(here, Unloaded("a")) == [Drop("a", Reason.UNCACHED)]
    assert tell(here, Dropped("a")) == []
    assert (here.memory.used_bytes, here.disk.used_bytes) == (0, 0)


def test_a_wanted_model_is_loaded_without_a_request_and_never_evicted(here: Residency) -> None:
    """What others can get is what it leaves."""
    assert tell(here, Wanted("a")) == [Fetch("a", 20)]
    assert tell(here, Fetched("a", 15)) == [Load("a", 40)]
    tell(here, Loaded("a", 60), Recovered("b", 20))
    assert tell(here, Invoked(1, "b")) == [Load("b", 40)]
    refused = Reject(1, Refusal.OUT_OF_MEMORY, "it needs more than 40 bytes", 1.0)
    assert tell(here, OutOfMemory("b")) == [refused]


def test_a_wanted_model_that_cannot_be_had_is_given_up_once(here: Residency) -> None:
    """The shell is told, and nothing is tried again before somebody asks."""
    tell(here, Wanted("a"))
    assert tell(here, FetchFailed("a", "gone")) == [GiveUp("a", Refusal.FAILED, "gone")]
    assert here.next_deadline(0.0) is None
    assert tell(here, Invoked(1, "a")) == [Fetch("a", 20)]


def test_a_wanted_model_that_crashes_comes_back(here: Residency) -> None:
    """Unless it did nothing since its load: then it would crash for ever."""
    tell(here, Wanted("a"), Fetched("a", 15), Loaded("a", 30))
    tell(here, Invoked(1, "a"), now=1.0)
    assert tell(here, Crashed("a", "segfault"), now=2.0) == [Load("a", 33)]
    tell(here, Answered(1), Loaded("a", 30), now=3.0)
    assert tell(here, Crashed("a", "segfault"), now=4.0) == []


def test_nobody_can_be_loaded_beside_a_wanted_model_that_takes_everything(here: Residency) -> None:
    """To wait would be in vain, so it is said at once."""
    tell(here, Wanted("a"), Fetched("a", 15), Loaded("a", 100), Recovered("b", 20))
    refused = Reject(1, Refusal.OUT_OF_MEMORY, "pinned models hold all of the memory", 60.0)
    assert tell(here, Invoked(1, "b")) == [refused]


def test_limits_have_to_make_sense() -> None:
    """An instance without memory is a mistake to be told of."""
    with pytest.raises(ValueError, match="memory_bytes is 0; it has to be at least 1"):
        Limits(memory_bytes=0, disk_bytes=1)


# -- what the shell and the operator see ----------------------------------------------------------


def test_impossible_facts_are_refused(here: Residency) -> None:
    """The shell is wrong, and to go on would hide it."""
    load(here, "a", 1)
    with pytest.raises(AssertionError, match="a is loaded, not fetching"):
        here.handle(Fetched("a", 1), 0.0)
    tell(here, Invoked(2, "a"))
    with pytest.raises(AssertionError, match="request 2 came twice"):
        here.handle(Invoked(2, "a"), 0.0)


def test_a_measurement_of_what_has_left_is_ignored(here: Residency) -> None:
    """It was taken before the worker ended."""
    load(here, "a", 1)
    tell(here, Crashed("a", "segfault"))
    assert tell(here, Measured("a", 500), Measured("never", 1)) == []
    assert here.memory.used_bytes == 0


def test_a_crash_on_the_way_out_is_ignored(here: Residency) -> None:
    """Unloaded says all that matters."""
    load(here, "a", 1, memory=90)
    tell(here, Recovered("b", 20), Invoked(2, "b"))
    assert tell(here, Crashed("a", "killed")) == []
    assert tell(here, Unloaded("a")) == [Load("b", 100)]


def test_the_report_has_a_row_for_every_model_that_is_somewhere(here: Residency) -> None:
    """With what the operator asks: where, how large, how often, how long ago, and who waits."""
    load(here, "a", 1, now=7.0)
    tell(here, Invoked(2, "a"), Invoked(3, "a"), Invoked(4, "b"), now=8.0)
    a, b = here.snapshot()
    assert (a.model, a.state, a.memory_bytes, a.disk_bytes) == ("a", "loaded", 40, 20)
    assert (a.hits, a.loads, a.waiting, a.in_flight) == (2, 1, 1, 1)
    assert (a.last_used_at, a.loaded_at) == (8.0, 7.0)
    assert (b.model, b.state, b.waiting) == ("b", "fetching", 1)
    assert repr(here) == "<Residency 2 models: 1 loaded, 0 loading | 1 in flight, 2 waiting>"


# -- fairness -------------------------------------------------------------------------------------


@pytest.mark.parametrize("tenure_max_s", [0.0, 1.0])
def test_a_hammered_model_does_not_starve_a_cold_one(tenure_max_s: float) -> None:
    """With room for one, the cold model waits for one tenure and one answer, not for a lull: the
    time of a tenure and that in which a hot model may cool pass together.
    """
    here = Residency(replace(LIMITS, tenure_max_s=tenure_max_s))
    tell(here, Recovered("hot", 20), Recovered("cold", 20), Invoked(0, "hot"))
    tell(here, Loaded("hot", 90), now=10.0)
    orders = tell(here, *(Invoked(i, "hot") for i in range(1, 50)), now=10.0)
    number, now, answers = 50, 10.0, 0
    tell(here, Invoked(number, "cold"), now=now)
    forwarded = 0
    while not any(isinstance(order, Unload) for order in orders):
        now += 0.1
        number += 1
        orders = tell(here, Tick(), Invoked(number, "hot"), Answered(forwarded), now=now)
        answers += 1
        forwarded = next((o.request for o in orders if isinstance(o, Forward)), forwarded)
    assert answers <= 1 + max(tenure_max_s, LIMITS.hot_wait_s) / 0.1 + 1
    orders = tell(here, Unloaded("hot"), now=now)
    assert [type(order) for order in orders] == [Load]
    assert tell(here, Loaded("cold", 90), now=now) == [Forward(50, "cold")]


# -- speed ----------------------------------------------------------------------------------------


def lines_run(here: Residency, *facts: Fact) -> int:
    """How many lines of Python are run for some facts: a time that no other process disturbs."""
    count, before = 0, sys.gettrace()

    def trace(frame: object, event: str, arg: object) -> object:
        nonlocal count
        count += event == "line"
        return trace

    sys.settrace(trace)
    try:
        for fact in facts:
            here.handle(fact, 0.0)
    finally:
        sys.settrace(before)
    return count


def test_a_warm_request_costs_the_same_however_many_models_there_are() -> None:
    """Nothing on its path looks at other models, whether idle, on the disk, or waiting."""
    costs = set()
    for models in (3, 60):
        here = Residency(replace(LIMITS, memory_bytes=50_000, disk_bytes=50_000))
        for number in range(models):
            load(here, f"m{number}", number)
            here.handle(Recovered(f"d{number}", 20), 0.0)
            here.handle(Invoked(1000 + number, f"w{number}"), 0.0)
        costs.add(lines_run(here, Invoked(5000, "m1"), Answered(5000)))
    assert len(costs) == 1


def test_the_check_tells_which_model_is_wrong(here: Residency) -> None:
    """An invariant that does not hold names the model and its state."""
    load(here, "a", 1)
    here.here.loaded.clear()
    with pytest.raises(AssertionError, match=r"<Model a loaded \| 0 in flight"):
        here.check()

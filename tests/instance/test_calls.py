"""Where a request's time went."""

from __future__ import annotations

import pytest

from modelplex.instance.calls import Call, Work


def waited(arrived: float, now: float, work: Work | None) -> Call:
    """A call that had to wait until `now`."""
    call = Call("m", arrived, waited=True)
    call.decide(now, work)
    return call


def test_a_wait_is_split_into_queue_fetch_and_load() -> None:
    """Only the parts that lie within the wait count, and the rest is queue."""
    work = Work(fetch_began=10.0, fetch_ended=12.0, load_began=13.0, load_ended=16.0)
    call = waited(11.0, 17.0, work)
    assert (call.start, call.fetch_s, call.load_s, call.queue_s) == ("cold", 1.0, 3.0, 2.0)


@pytest.mark.parametrize(("arrived", "start"), [(9.0, "cold"), (12.5, "disk"), (20.0, "warm")])
def test_the_start_is_named_after_what_it_waited_for(arrived: float, start: str) -> None:
    """A fetch makes it cold, a load alone is from disk, and a queue is still warm."""
    work = Work(fetch_began=10.0, fetch_ended=12.0, load_began=13.0, load_ended=16.0)
    assert waited(arrived, 21.0, work).start == start


def test_work_that_is_not_over_counts_until_now() -> None:
    """A request that is refused in the middle of the second fetch has waited for it."""
    work = Work(fetch_began=20.0, fetch_ended=12.0)
    assert waited(19.0, 25.0, work).fetch_s == 5.0


def test_no_wait_is_no_time() -> None:
    """A call that is decided at once is warm, whatever its model went through before."""
    call = Call("m", 1.0)
    call.decide(1.5, Work(0.5, 1.4, 1.4, 1.5))
    assert (call.start, call.queue_s) == ("warm", 0.0)

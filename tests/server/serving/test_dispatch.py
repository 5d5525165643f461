"""The decisions of one model's queue."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelplex.server.errors import BadRequest, Internal, ModelNotFound, ServerError, Unavailable
from modelplex.server.serving.dispatch import Dispatch, Outcome, Seat
from modelplex.workers.errors import NotBegun, TimedOut, WorkerDied
from modelplex.workers.invocations import Answer, Invocation
from modelplex.workers.worker import AHEAD_MAX

Told = Answer | ServerError


class Hand:
    """A worker that answers when the test says so, in the order in which it was asked."""

    def __init__(self) -> None:
        self.batches: list[list[bytes]] = []
        self.calls: deque[tuple[list[bytes], Callable[[Outcome], None]]] = deque()

    @property
    def done(self) -> bool:
        """Whether it has nothing to answer."""
        return not self.calls

    def submit(
        self, batch: Sequence[Invocation], timeout_s: float, done: Callable[[Outcome], None]
    ) -> None:
        assert len(self.calls) < AHEAD_MAX, "a worker with too much work was asked"
        assert timeout_s == 60.0
        bodies = [bytes(item.body) for item in batch]
        if b"bad" in bodies:
            raise ValueError("it is too large")
        self.batches.append(bodies)
        self.calls.append((bodies, done))

    def answer(self) -> None:
        bodies, done = self.calls.popleft()
        done([Answer(200, "", [], body) for body in bodies])

    def die(self, how: str, kind: type[WorkerDied] = WorkerDied) -> None:
        calls, self.calls = self.calls, deque()
        for at, (_, done) in enumerate(calls):
            done((NotBegun if at else kind)(f"the worker ended: {how}"))


class Stage:
    """A queue, its clock, and what every request was told."""

    def __init__(self, queue_max: int = 3, batch_size: int = 1, delay_s: float = 1.0) -> None:
        self.now = 100.0
        self.wakes: list[float] = []
        self.told: dict[bytes, list[Told]] = {}
        self.left: set[bytes] = set()
        self.dispatch = Dispatch(
            model="m",
            queue_max=queue_max,
            batch_size=batch_size,
            delay_s=delay_s,
            timeout_s=60.0,
            clock=lambda: self.now,
            wake_at=self.wakes.append,
        )

    def hire(self) -> tuple[Hand, Seat]:
        hand = Hand()
        return hand, self.dispatch.join(hand)

    def ask(self, *bodies: bytes) -> None:
        for body in bodies:
            told = self.told.setdefault(body, [])
            has_left = functools.partial(self.left.__contains__, body)
            self.dispatch.submit(Invocation([], body), told.append, has_left)

    def answers(self, *bodies: bytes) -> list[bytes | type[ServerError]]:
        """What these requests were told: the answer's body, or the class of the refusal."""
        found = []
        for body in bodies:
            (told,) = self.told[body]
            found.append(type(told) if isinstance(told, ServerError) else bytes(told.body))
        return found

    def text(self, body: bytes) -> str:
        (told,) = self.told[body]
        return str(told)


def test_an_idle_worker_gets_a_request_at_once() -> None:
    """Nothing is queued, and no timer is asked for."""
    stage = Stage()
    hand, _ = stage.hire()
    stage.ask(b"1")
    assert hand.batches == [[b"1"]]
    hand.answer()
    assert stage.answers(b"1") == [b"1"]
    assert not stage.wakes


def test_requests_wait_in_their_order() -> None:
    """What comes while all workers are busy, or before there is any, is answered in turn."""
    stage = Stage()
    stage.ask(b"1", b"2")
    assert stage.dispatch.queued == 2
    hand, _ = stage.hire()
    stage.ask(b"3")
    for _ in range(3):
        hand.answer()
    assert hand.batches == [[b"1"], [b"2"], [b"3"]]


def test_a_full_queue_refuses_with_mms_text() -> None:
    """Beyond job_queue_size requests get 503."""
    stage = Stage(queue_max=2)
    stage.ask(b"1", b"2", b"3")
    assert stage.answers(b"3") == [Unavailable]
    assert stage.text(b"3") == (
        "No worker is available to serve request for model: m. Consider increasing job queue size."
    )
    assert stage.dispatch.queued == 2


def test_clients_that_left_make_room_and_are_not_worked_for() -> None:
    """A queue full of requests that nobody waits for refuses nobody."""
    stage = Stage(queue_max=2)
    stage.ask(b"1", b"2")
    stage.left.add(b"1")
    stage.ask(b"3")
    assert stage.answers(b"1") == [Unavailable]
    stage.left.add(b"2")
    hand, _ = stage.hire()
    assert hand.batches == [[b"3"]]
    assert stage.answers(b"2") == [Unavailable]


def test_a_full_batch_goes_at_once_and_a_lone_request_after_the_delay() -> None:
    """The delay counts from the arrival of the first request of the batch."""
    stage = Stage(queue_max=10, batch_size=2)
    hand, _ = stage.hire()
    stage.ask(b"1")
    assert stage.wakes == [101.0]
    stage.ask(b"2")
    assert hand.batches == [[b"1", b"2"]]
    stage.ask(b"3")
    hand.answer()
    assert stage.answers(b"1", b"2") == [b"1", b"2"]
    assert hand.batches[1:] == []
    stage.now = 100.5
    stage.dispatch.tick()
    assert hand.batches[1:] == []
    stage.now = 101.0
    stage.dispatch.tick()
    assert hand.batches[1:] == [[b"3"]]


def test_a_batch_that_the_queue_cannot_hold_does_not_wait_to_be_full() -> None:
    """A queue shorter than a batch is a batch."""
    stage = Stage(queue_max=2, batch_size=8)
    hand, _ = stage.hire()
    stage.ask(b"1", b"2")
    assert hand.batches == [[b"1", b"2"]]


def test_who_waited_behind_a_busy_worker_does_not_wait_again() -> None:
    """Time in the queue counts for the batch delay."""
    stage = Stage(queue_max=10, batch_size=4)
    hand, _ = stage.hire()
    stage.ask(b"1", b"2", b"3", b"4", b"5")
    stage.now += 5.0
    hand.answer()
    assert hand.batches == [[b"1", b"2", b"3", b"4"], [b"5"]]


def test_a_death_costs_the_requests_under_way_and_no_others() -> None:
    """Those get 500 and how it died; queued ones go to the next worker."""
    stage = Stage()
    hand, seat = stage.hire()
    stage.ask(b"1", b"2")
    hand.die("exit code 3")
    stage.dispatch.leave(seat, WorkerDied("exit code 3"))
    assert stage.answers(b"1") == [Internal]
    assert stage.text(b"1") == "Worker died: exit code 3"
    other, _ = stage.hire()
    other.answer()
    assert stage.answers(b"2") == [b"2"]
    assert not hand.batches[1:]


def brisk(queue_max: int = 3) -> tuple[Stage, Hand, Seat]:
    """A stage with one worker that has answered a hundred requests in no time."""
    stage = Stage(queue_max)
    hand, seat = stage.hire()
    for number in range(100):
        stage.ask(b"-%d" % number)
        hand.answer()
    hand.batches.clear()
    return stage, hand, seat


def test_a_brisk_worker_is_asked_ahead_of_time() -> None:
    """As many as it may have at once; the others wait, and follow one by one."""
    stage, hand, _ = brisk()
    stage.ask(*(b"%d" % number for number in range(14)))
    assert len(hand.batches) == 12
    assert stage.dispatch.queued == 2
    hand.answer()
    assert hand.batches[12:] == [[b"12"]]
    while not hand.done:
        hand.answer()
    assert stage.answers(b"0", b"13") == [b"0", b"13"]


def test_neither_large_bodies_nor_slow_or_several_workers_are_asked_ahead_of_time() -> None:
    """A large body fills the socket; another worker may be free sooner than a slow one."""
    stage, hand, _ = brisk()
    stage.ask(b"1", b"x" * 20_000, b"2")
    assert hand.batches == [[b"1"]]
    while not hand.done:
        stage.now += 5.0
        hand.answer()
    stage.ask(b"3", b"4")
    assert hand.batches[-1] == [b"3"], "three answers took five seconds each"
    stage, hand, _ = brisk()
    other, _ = stage.hire()
    stage.ask(b"1", b"2", b"3")
    assert (hand.batches, other.batches, stage.dispatch.queued) == ([[b"2"]], [[b"1"]], 1)


def test_what_a_dead_worker_had_not_begun_goes_to_the_next_in_its_order() -> None:
    """Only the request that it worked on is lost."""
    stage, hand, seat = brisk(queue_max=1)
    bodies = [b"%d" % number for number in range(13)]
    for body in bodies:
        stage.now += 0.000001
        stage.ask(body)
    hand.die("exit code 3")
    stage.dispatch.leave(seat, WorkerDied("exit code 3"))
    assert stage.answers(b"0") == [Internal]
    other, _ = stage.hire()
    while not other.done:
        other.answer()
    assert other.batches == [[body] for body in bodies[1:]]


def test_what_comes_back_after_the_end_is_refused() -> None:
    """A model that is killed because it does not drain leaves nobody waiting."""
    stage, hand, seat = brisk()
    stage.ask(b"1", b"2")
    stage.dispatch.close(ModelNotFound("gone"), lambda: None)
    stage.dispatch.abort(ModelNotFound("gone"))
    hand.die("unloaded")
    stage.dispatch.leave(seat, WorkerDied("unloaded"))
    assert stage.answers(b"1", b"2") == [Internal, ModelNotFound]


def test_a_timeout_is_a_death_that_says_why() -> None:
    """The worker is about to be killed: nothing more goes to it before `leave`."""
    stage = Stage()
    hand, _ = stage.hire()
    stage.ask(b"1")
    hand.die("the handler took longer than 1 s", TimedOut)
    stage.ask(b"2")
    assert stage.text(b"1") == "Worker died: the handler took longer than 1 s"
    assert len(hand.batches) == 1


def test_a_worker_that_ends_without_a_word_leaves_no_request_unanswered() -> None:
    """`leave` alone is enough."""
    stage = Stage()
    _, seat = stage.hire()
    stage.ask(b"1")
    stage.dispatch.leave(seat, WorkerDied("killed by SIGKILL"))
    assert stage.answers(b"1") == [Internal]


def test_a_batch_that_cannot_be_sent_is_refused_and_the_worker_goes_on() -> None:
    """A body above the limit is the client's mistake."""
    stage = Stage()
    hand, _ = stage.hire()
    stage.ask(b"bad")
    assert stage.answers(b"bad") == [BadRequest]
    stage.told.clear()
    stage.ask(b"1", b"bad", b"2")
    hand.answer()
    hand.answer()
    assert hand.batches == [[b"1"], [b"2"]]


def test_retiring_lets_a_worker_finish() -> None:
    """Its last answer is delivered before it is free, and it gets nothing more."""
    stage = Stage()
    hand, seat = stage.hire()
    freed: list[int] = []
    stage.ask(b"1", b"2")
    stage.dispatch.retire(seat, lambda: freed.append(len(stage.told[b"1"])))
    assert not freed
    hand.answer()
    assert freed == [1]
    assert stage.dispatch.queued == 1
    _, idle = stage.hire()
    stage.dispatch.leave(idle, WorkerDied("exit code 0"))
    stage.dispatch.retire(idle, lambda: freed.append(2))
    assert freed == [1, 2]


def test_closing_finishes_what_came_before() -> None:
    """`on_empty` comes once, after the last answer; new requests get the refusal."""
    stage = Stage(queue_max=10, batch_size=2)
    hand, _ = stage.hire()
    empty: list[str] = []
    stage.ask(b"1", b"2", b"3")
    stage.dispatch.close(ModelNotFound("gone"), lambda: empty.append("empty"))
    stage.ask(b"4")
    assert stage.answers(b"4") == [ModelNotFound]
    hand.answer()
    assert hand.batches == [[b"1", b"2"], [b"3"]]
    assert not empty
    hand.answer()
    assert stage.answers(b"3") == [b"3"]
    assert empty == ["empty"]


def test_without_workers_to_come_requests_are_refused() -> None:
    """A model with no workers takes none, until it is scaled up."""
    stage = Stage()
    stage.ask(b"1")
    stage.dispatch.staff(False)
    stage.ask(b"2")
    assert stage.answers(b"1", b"2") == [Unavailable, Unavailable]
    stage.dispatch.staff(True)
    stage.ask(b"3")
    assert stage.dispatch.queued == 1


def test_a_failed_restart_strands_only_those_who_have_no_worker() -> None:
    """With another worker alive the queue goes on waiting for it."""
    stage = Stage()
    _, seat = stage.hire()
    stage.ask(b"1", b"2")
    stage.dispatch.strand(Internal("no"))
    assert stage.dispatch.queued == 1
    stage.dispatch.leave(seat, WorkerDied("exit code 1"))
    stage.dispatch.strand(Internal("no"))
    assert stage.answers(b"2") == [Internal]


@pytest.mark.parametrize("batch_size", [1, 2])
def test_a_caller_that_fails_harms_no_other(batch_size: int) -> None:
    """An exception out of `done` is logged, and the rest of the batch is answered."""
    stage = Stage(batch_size=batch_size, delay_s=0.0)
    hand, _ = stage.hire()

    def fail(_: Told) -> None:
        raise RuntimeError("a defect")

    stage.ask(b"0")
    stage.dispatch.submit(Invocation([], b"x"), fail, lambda: False)
    stage.ask(b"1")
    while not hand.done:
        hand.answer()
    assert stage.answers(b"0", b"1") == [b"0", b"1"]


def test_who_is_told_something_may_submit_again() -> None:
    """Inside of `done`: a refusal while a worker is being chosen, and an answer."""
    stage = Stage()
    stage.dispatch.submit(Invocation([], b"0"), lambda _: stage.ask(b"3"), lambda: True)
    stage.dispatch.submit(Invocation([], b"1"), lambda _: stage.ask(b"4"), lambda: False)
    stage.ask(b"2")
    hand, _ = stage.hire()
    while not hand.done:
        hand.answer()
    assert [batch[0] for batch in hand.batches] == [b"1", b"2", b"3", b"4"]
    assert stage.answers(b"2", b"3", b"4") == [b"2", b"3", b"4"]


STEPS = ("ask", "ask", "ask", "left", "hire", "answer", "answer", "die", "retire", "tick", "strand")


class History(Stage):
    """A stage on which anything may happen, in any order."""

    def __init__(self, queue_max: int, batch_size: int, delay_s: float) -> None:
        super().__init__(queue_max, batch_size, delay_s)
        self.crew: list[tuple[Hand, Seat]] = []
        self.retired: dict[Seat, int] = {}  # how often each was said to be free

    def act(self, step: str, pick: int) -> None:
        if step in {"answer", "die", "retire"}:
            if self.crew:
                getattr(self, step)(*self.crew[pick % len(self.crew)])
            return
        match step:
            case "ask":
                self.ask(b"%d" % len(self.told))
            case "left":
                self.left.add(b"%d" % (len(self.told) - pick))
            case "hire" if len(self.crew) < 3:
                self.crew.append(self.hire())
                self.crew[-1][1].mean_s = pick % 2  # brisk or slow
            case "tick":
                self.now += 0.6
                self.dispatch.tick()
            case "strand":
                self.dispatch.strand(Internal("no worker"))

    def answer(self, hand: Hand, _: Seat) -> None:
        if not hand.done:
            hand.answer()

    def die(self, hand: Hand, seat: Seat) -> None:
        self.crew.remove((hand, seat))
        if len(self.told) % 2:  # otherwise the end of the process is all that is heard of it
            hand.die("exit code 1")
        self.dispatch.leave(seat, WorkerDied("exit code 1"))

    def retire(self, _: Hand, seat: Seat) -> None:
        if seat not in self.retired:
            self.retired[seat] = 0
            self.dispatch.retire(seat, functools.partial(self.freed, seat))

    def freed(self, seat: Seat) -> None:
        self.retired[seat] += 1

    def finish(self) -> list[bool]:
        """Closes the model and lets all workers answer; every call of `on_empty`."""
        empty: list[bool] = []
        self.crew.append(self.hire())
        self.dispatch.close(ModelNotFound("gone"), lambda: empty.append(True))
        while not all(hand.done for hand, _ in self.crew):
            for hand, seat in self.crew:
                self.answer(hand, seat)
        return empty


@settings(max_examples=300, deadline=None)
@given(
    steps=st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 7)), max_size=60),
    batch_size=st.integers(1, 4),
    queue_max=st.integers(1, 5),
    delay_s=st.sampled_from([0.0, 1.0]),
)
def test_every_request_is_told_exactly_once(
    steps: list[tuple[str, int]], batch_size: int, queue_max: int, delay_s: float
) -> None:
    """Whatever comes in whatever order; at the end the model is drained, which is told once too."""
    history = History(queue_max, batch_size, delay_s)
    for step, pick in steps:
        history.act(step, pick)
        assert history.dispatch.queued <= queue_max + AHEAD_MAX  # what came back is not refused
    assert history.finish() == [True]
    assert history.dispatch.queued == 0
    assert all(len(told) == 1 for told in history.told.values())
    assert set(history.retired.values()) <= {1}

"""Whose request is next where more wait than the instance may work on."""

from __future__ import annotations

from collections import Counter
from itertools import count

import pytest

from modelplex.core.events import (
    Abandoned,
    Action,
    Answered,
    Configured,
    Crashed,
    Fact,
    Forward,
    Invoked,
    Loaded,
    Recovered,
)
from modelplex.core.limits import Limits
from modelplex.core.model import Model
from modelplex.core.residency import Residency
from modelplex.core.rules import Rule
from modelplex.core.turns import Turns

LIMITS = Limits(
    memory_bytes=1000, disk_bytes=1000, concurrency=8, answers_max=1, loads_max=9, fetches_max=9
)


class Instance:
    """Everything is loaded, and an answer takes as long as its model's name says."""

    def __init__(self, *models: str, rules: tuple[Rule, ...] = ()) -> None:
        self.residency = Residency(LIMITS)
        self.numbers = count(1)
        self.model_of: dict[int, str] = {}
        self.now = 1.0
        self.tell(Configured(rules))
        for model in models:
            self.tell(Recovered(model, 10))
            request = self.invoke(model)
            self.tell(Loaded(model, 10))
            self.now += 0.1
            self.tell(Answered(request))

    def tell(self, fact: Fact) -> list[Action]:
        orders = self.residency.handle(fact, self.now)
        self.residency.check()
        return orders

    def invoke(self, model: str) -> int:
        request = next(self.numbers)
        self.model_of[request] = model
        self.tell(Invoked(request, model))
        return request

    def answers(self, total: int, seconds: dict[str, float]) -> Counter[str]:
        """How many of so many answers in a row were of which model."""
        done: Counter[str] = Counter()
        for _ in range(total):
            [running] = self.residency.here.requests.forwarded
            self.now += seconds[self.model_of[running]]
            done[self.model_of[running]] += 1
            self.tell(Answered(running))
        return done


def test_a_flooded_model_does_not_keep_the_others_from_answering() -> None:
    """However many wait for it: one that comes is next but one."""
    instance = Instance("flooded", "other")
    for _ in range(50):
        instance.invoke("flooded")
    instance.invoke("other")
    assert instance.answers(3, {"flooded": 0.1, "other": 0.1})["other"] == 1


def test_weights_share_the_time() -> None:
    """Three to one."""
    instance = Instance("a", "b", rules=(Rule("a", weight=3.0),))
    for _ in range(60):
        instance.invoke("a")
        instance.invoke("b")
    done = instance.answers(60, {"a": 0.1, "b": 0.1})
    assert 42 <= done["a"] <= 48


def test_slow_models_do_not_get_more_time() -> None:
    """Ten times as slow, a tenth of the answers."""
    instance = Instance("slow", "quick")
    for _ in range(100):
        instance.invoke("slow")
        instance.invoke("quick")
    done = instance.answers(77, {"slow": 1.0, "quick": 0.1})
    assert 5 <= done["slow"] <= 11


def test_nobody_waits_for_a_turn_in_vain() -> None:
    """Who has no request any more, or is not loaded, stands in no line."""
    instance = Instance("a", "b")
    first, second = instance.invoke("a"), instance.invoke("b")
    instance.tell(Abandoned(second))
    assert instance.tell(Answered(first)) == []
    third = instance.invoke("b")
    assert instance.residency.here.requests.forwarded.keys() == {third}


def test_a_slot_of_a_dead_worker_is_free_when_its_request_is_answered() -> None:
    """The shell may still be busy with it."""
    instance = Instance("a", "b")
    first, second = instance.invoke("a"), instance.invoke("b")
    assert instance.tell(Crashed("a", "segfault")) == []
    assert instance.tell(Answered(first)) == [Forward(second, "b")]


def test_a_model_joins_once_and_leaves_at_once() -> None:
    """Joining again changes nothing."""
    turns, model = Turns(), Model("a")
    turns.join(model)
    turns.join(model)
    turns.check()
    assert turns.take(1.0) is model
    assert not turns.order
    turns.leave(model)
    assert model.fair_at == pytest.approx(1.0)

"""The order in which models leave, kept up lazily."""

from __future__ import annotations

from random import Random

from modelplex.core.model import Model
from modelplex.core.policies.policy import Unwatching
from modelplex.core.policies.ranking import Ranking
from modelplex.core.usage import Usage

DAY_S = 86_400.0


class Counting(Unwatching):
    """By number of requests; notes how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.evictions: list[tuple[str, float, int]] = []

    def score(self, model: str, usage: Usage, size_bytes: int, cost_s: float) -> float:
        self.asked += 1
        return usage.count

    def evicted(self, model: str, score: float, held_bytes: int) -> None:
        self.evictions.append((model, score, held_bytes))


def measure(model: Model) -> tuple[int, float]:
    return model.known_memory_bytes, 1.0


def used(name: str, *moments: float) -> Model:
    model = Model(name, known_memory_bytes=10)
    for moment in moments:
        model.usage.used(moment, DAY_S)
    return model


def test_scores_are_asked_for_when_the_order_is_and_only_of_who_was_touched() -> None:
    """A request costs no sorting."""
    policy = Counting()
    ranking = Ranking(policy, measure)
    once, twice = used("once", 5.0), used("twice", 1.0, 2.0)
    for model in (twice, once, twice):
        ranking.touch(model)
    assert policy.asked == 0
    assert [*ranking.ascending()] == [once, twice]
    assert [*ranking.ascending()] == [once, twice]
    assert policy.asked == 2
    once.usage.count = 9.0
    assert [*ranking.ascending()] == [once, twice]  # not touched
    ranking.touch(once)
    assert [*ranking.ascending()] == [twice, once]
    assert ranking.score(once) == 9.0


def test_ties_go_by_last_use() -> None:
    """Whatever the order in which they came."""
    ranking = Ranking(Counting(), measure)
    models = [used("c", 3.0), used("a", 2.0), used("b", 1.0)]
    for model in models:
        ranking.touch(model)
    assert [*ranking.ascending()] == models[::-1]


def test_an_eviction_is_told_to_the_policy_and_another_leaving_is_not() -> None:
    """With what all held until then."""
    policy = Counting()
    ranking = Ranking(policy, measure)
    models = [used("a", 1.0), used("b", 2.0), used("c", 3.0)]
    for model in models:
        ranking.touch(model)
    ranking.remove(models[1])
    ranking.remove(models[1])
    assert [*ranking.ascending()] == [models[0], models[2]]
    ranking.evict(models[0])
    assert policy.evictions == [("a", 1.0, 20)]
    assert models[2] in ranking
    assert models[0] not in ranking


class Fickle(Counting):
    """Reverses its order whenever it hears of a model."""

    def __init__(self) -> None:
        super().__init__()
        self.sign = 1

    def score(self, model: str, usage: Usage, size_bytes: int, cost_s: float) -> float:
        return self.sign * usage.last_at

    def watches(self, model: str) -> bool:
        return model == "watched"

    def used(self, model: str, usage: Usage, size_bytes: int, cost_s: float) -> bool:
        self.sign = -self.sign
        return True


def test_a_policy_may_void_all_scores() -> None:
    """When it hears of a request, once of each."""
    ranking = Ranking(Fickle(), measure)
    models = [used("a", 1.0), used("b", 2.0), used("watched", 3.0)]
    for model in models[:2]:
        ranking.touch(model)
    assert [*ranking.ascending()] == models[:2]
    ranking.touch(models[2])
    ranking.touch(models[2])  # it was measured, say
    assert [*ranking.ascending()] == models[::-1]


def test_whatever_happens_everybody_has_one_place() -> None:
    """Against a plain sort, through many touches, removals and evictions."""
    random = Random(1)
    models = [used(f"m{number}", 1.0 + number) for number in range(120)]
    ranking = Ranking(Counting(), measure)
    here: set[str] = set()
    for now in range(200, 900):
        model = random.choice(models)
        match random.randrange(4):
            case 0:
                ranking.remove(model)
                here.discard(model.name)
            case 1 if model.name in here:
                model.known_memory_bytes = random.randrange(100)
                ranking.evict(model)
                here.discard(model.name)
            case _:
                model.usage.used(float(now), DAY_S)
                ranking.touch(model)
                here.add(model.name)
        if random.random() < 0.05:
            ranking.check()
            expected = [each for each in models if each.name in here]
            expected.sort(key=lambda each: (each.usage.count, each.usage.last_at))
            assert [*ranking.ascending()] == expected

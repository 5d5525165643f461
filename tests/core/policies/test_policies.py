"""What each policy makes of the same facts."""

from __future__ import annotations

import math
import pickle
from collections.abc import Iterable
from random import Random

import pytest

from modelplex.core.limits import Limits
from modelplex.core.model import Model
from modelplex.core.policies import POLICIES, Policy
from modelplex.core.policies.adaptive import HALF_LIVES_S, SAMPLE_MAX, Adaptive
from modelplex.core.policies.aging import Aging
from modelplex.core.policies.gdsf import GreedyDual
from modelplex.core.policies.ranking import Ranking
from modelplex.core.policies.tinylfu import TinyLfu
from modelplex.core.usage import Usage
from modelplex.settings import Settings, SettingsError

DAY_S = 86_400.0
LARGE, SMALL = 1000, 10


def measure(model: Model) -> tuple[int, float]:
    return model.known_memory_bytes, model.usage.load_s


class Cache:
    """Models of 1 byte in a room, loads at once; counts what it paid."""

    def __init__(self, policy: Policy, room_bytes: int) -> None:
        self.ranking = Ranking(policy, measure)
        self.models: dict[int, Model] = {}
        self.room_bytes = room_bytes
        self.loads = 0

    def ask(self, number: int, now: float) -> None:
        model = self.models.get(number)
        if model is None:
            usage = Usage(load_s=1.0)
            model = self.models[number] = Model(f"m{number}", usage=usage, known_memory_bytes=1)
        if model not in self.ranking:
            self.loads += 1
            if len(self.ranking) >= self.room_bytes:
                self.ranking.evict(next(self.ranking.ascending()))
        model.usage.used(now, DAY_S)
        self.ranking.touch(model)

    def play(self, numbers: Iterable[int], start_s: float = 0.0) -> int:
        """One request a second; what that cost."""
        before = self.loads
        for second, number in enumerate(numbers, 1):
            self.ask(number, start_s + second)
        return self.loads - before


def loop(requests: int, models: int) -> list[int]:
    return [number % models for number in range(requests)]


def visits(requests: int) -> list[int]:
    """Each model ten times within a while, and never again."""
    random = Random(2)
    return [number // 10 + random.randrange(12) for number in range(requests)]


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("usage", [Usage(), Usage(count=3.0, last_at=7.0)])
def test_nothing_known_breaks_no_order(name: str, usage: Usage) -> None:
    """Sizes and costs of 0 still give a number."""
    policy = POLICIES[name]()
    assert math.isfinite(policy.score("m", usage, 0, 0.0))


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_can_be_written_down_and_goes_on_as_before(name: str) -> None:
    """Checkpoints hold policies with what they have learned."""
    cache = Cache(POLICIES[name](), 20)
    cache.play(loop(300, 30))
    copy = pickle.loads(pickle.dumps(cache))
    rest = visits(300)
    assert copy.play(rest, 300.0) == cache.play(rest, 300.0)


@pytest.mark.parametrize("policy", [GreedyDual(), Aging(), Adaptive()])
def test_what_is_small_or_dear_or_used_more_stays(policy: Policy) -> None:
    """At the same last use."""

    def score(count: float, size: int, cost: float) -> float:
        return policy.score("m", Usage(count=count, last_at=9.0), size, cost)

    assert score(2.0, LARGE, 1.0) > score(1.0, LARGE, 1.0)
    assert score(1.0, SMALL, 1.0) > score(1.0, LARGE, 1.0)
    assert score(1.0, LARGE, 2.0) > score(1.0, LARGE, 1.0)


def test_gdsf_forgets_by_evictions() -> None:
    """Whoever is used after somebody had to go stands above that one."""
    policy = GreedyDual()
    dear = policy.score("dear", Usage(count=5.0), 1, 1.0)
    policy.evicted("dear", dear, 100)
    assert policy.score("cheap", Usage(count=1.0), 1, 1.0) > dear


def test_aging_halves_a_worth_in_a_half_life() -> None:
    """Twice the requests are as good as having been asked for a half-life later."""
    policy = Aging(100.0)
    late = policy.score("m", Usage(count=1.0, last_at=150.0), 1, 1.0)
    often = policy.score("m", Usage(count=2.0, last_at=50.0), 1, 1.0)
    assert late == pytest.approx(often)


def test_tinylfu_lets_newcomers_go_before_those_who_are_established() -> None:
    """A scan over many models does not wash out those that are used."""
    cache = Cache(TinyLfu(), 20)
    cache.play(loop(200, 15))
    cache.play(range(100, 400), 200.0)
    assert cache.play(loop(15, 15), 500.0) <= 1  # who had to go before there was any order


def test_adaptive_finds_a_long_memory_for_a_loop_and_a_short_one_for_visitors() -> None:
    """LRU never hits in a loop that is larger than the room, LFU keeps visitors who have left."""
    cache = Cache(Adaptive(), 40)
    assert cache.play(loop(6000, 50)) < 2500
    assert cache.ranking.policy.half_life_s >= 64.0  # type: ignore[attr-defined]
    lru = Cache(POLICIES["lru"](), 40)
    strangers = [100 + number for number in visits(12_000)]
    before = lru.play(strangers)
    cache.play(strangers[:6000], 6000.0)
    assert cache.ranking.policy.half_life_s <= 64.0  # type: ignore[attr-defined]
    assert cache.play(strangers[6000:], 12_000.0) <= 1.05 * before / 2
    cache.ranking.check()


def test_adaptive_keeps_a_bounded_sample() -> None:
    """However many models fit, the ghosts hold so many and know no others."""
    policy = Adaptive()
    cache = Cache(policy, 4 * SAMPLE_MAX)
    cache.play(loop(8 * SAMPLE_MAX, 5 * SAMPLE_MAX))
    ghosts = [len(ghost.here) for ghost in policy._ghosts]
    assert max(ghosts) <= SAMPLE_MAX
    assert min(ghosts) > SAMPLE_MAX / 8
    assert set(policy._seen) == {name for ghost in policy._ghosts for name in ghost.here}
    assert all(ghost.held_bytes == len(ghost.here) for ghost in policy._ghosts)
    assert policy.half_life_s in HALF_LIVES_S


def test_a_policy_that_is_not_there_is_refused_by_name() -> None:
    """By the settings, which know the same names, and by the limits."""
    with pytest.raises(ValueError, match="'mru'; it has to be one of adaptive, lru, gdsf, aging"):
        Limits(memory_bytes=1, disk_bytes=1, policy="mru")
    with pytest.raises(SettingsError, match="must be adaptive, lru, gdsf, aging or tinylfu, not"):
        Settings.from_document({"eviction_policy": "mru"})
    for name in POLICIES:
        assert Settings.from_document({"eviction_policy": name}).eviction_policy == name
    assert Settings().eviction_policy == Limits(memory_bytes=1, disk_bytes=1).policy

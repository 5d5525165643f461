"""The order of instances for a model."""

from __future__ import annotations

from collections import Counter

from modelplex.core.routing.rendezvous import SLOTS, ranked, slot_of

INSTANCES = [f"i-{number:017x}" for number in range(4)]


def test_models_are_spread_over_instances() -> None:
    """Each of four instances is the first choice of about a quarter of the models."""
    first = Counter(ranked(slot_of(f"m{n}.tar.gz"), INSTANCES)[0] for n in range(4000))
    assert all(850 < count < 1150 for count in first.values())


def test_only_the_models_of_a_lost_instance_move() -> None:
    """The order of the remaining ones stays, in whatever order they are listed."""
    for slot in range(200):
        before = ranked(slot, INSTANCES)
        gone = ranked(slot, [each for each in reversed(INSTANCES) if each != INSTANCES[2]])
        assert gone == [each for each in before if each != INSTANCES[2]]


def test_any_name_has_a_slot() -> None:
    """Names that came as no proper UTF-8 too; always the same one."""
    assert 0 <= slot_of("a\udcff") == slot_of("a\udcff") < SLOTS
    assert slot_of("m0.tar.gz") == 3860

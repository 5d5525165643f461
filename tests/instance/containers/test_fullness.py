"""What a container's 507 says of its memory."""

from __future__ import annotations

from modelplex.instance.containers.fullness import FULL_FOR_S, Fullness


def test_a_container_that_never_refused_has_all() -> None:
    """As the instance gave it."""
    assert Fullness().limit(1000, now=5.0) == 1000


def test_a_refusal_is_believed_for_a_while() -> None:
    """Room for twice the promise takes one model of the usual size: 60 of 90, promised 1.5 fold."""
    fullness = Fullness()
    fullness.refused(used=390, promised=90, whole=1000, now=5.0)
    assert fullness.limit(1000, now=6.0) == 420
    missing = 2 * 90 - (420 - 300)
    assert missing == 60
    assert fullness.limit(1000, now=5.0 + FULL_FOR_S) == 1000
    assert fullness.limit(100, now=6.0) == 100


def test_another_refusal_meanwhile_makes_it_no_larger() -> None:
    """Else a model that fits nowhere would be tried for ever."""
    fullness = Fullness()
    fullness.refused(used=90, promised=90, whole=1000, now=5.0)
    fullness.refused(used=120, promised=120, whole=1000, now=6.0)
    assert fullness.limit(1000, now=7.0) == 120

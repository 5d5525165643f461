"""What goes wrong in a simulated world, and when."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Death:
    """An instance dies; another one takes its place, empty unless the disk is kept."""

    instance: int
    at_s: float
    down_s: float = 30.0
    keeps_disk: bool = False


@dataclass(frozen=True, slots=True)
class SlowStore:
    """For a while every fetch takes `factor` times as long."""

    at_s: float
    for_s: float
    factor: float = 10.0


@dataclass(frozen=True, slots=True)
class Update:
    """The store gets another version of a model's artifact, which the instances hear of."""

    at_s: float
    model: int
    broken: bool = False  # it cannot be loaded


Failure = Death | SlowStore | Update

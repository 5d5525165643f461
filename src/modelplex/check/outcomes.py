"""What a check is, and how it ends: what was seen, a failure, or a reason why it was not tried."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from modelplex.check.world import World

Verdict = Literal["passed", "failed", "skipped"]
Run = Callable[["World"], Coroutine[None, None, str]]


class Failed(Exception):
    """The contract is not kept; the text says what was sent and what came back."""


class Skipped(Exception):
    """The check says nothing about this container; the text says why."""


class CouldNotRun(Exception):
    """There is nothing to check: the command does not start, or nobody answers."""


@dataclass(frozen=True, slots=True)
class Check:
    """One rule of the contract and the function that tries it.

    `run` returns what was seen, or raises Failed or Skipped. `own_models`: it needs the checker's
    own handlers; `command`: it needs the container's processes.
    """

    name: str
    contract: str
    source: str
    run: Run
    own_models: bool
    command: bool


@dataclass(frozen=True, slots=True)
class Result:
    """How one check ended."""

    check: Check
    verdict: Verdict
    seen: str
    seconds: float


def check(
    contract: str, source: str, *, own_models: bool = True, command: bool = False
) -> Callable[[Run], Check]:
    """Makes a function the check of its name; `runs.CHECKS` is the list of all."""

    def make(run: Run) -> Check:
        name = run.__name__.replace("_", "-")
        return Check(name, contract, source, run, own_models, command)

    return make

"""Models that fail again and again are left alone for a while, and the reason is kept.

A failure is a broken artifact, a failed load, or a crash; not a client's error, and not a fetch
that failed for a passing reason (`events.FetchFailed`). After `Limits.quarantine_after` of them in
a row a model is in quarantine: requests are refused at once with the last failure, for a pause that
doubles with every further one. When it is over, one request is let through to see; those that come
while that one is on its way are refused still. A load ends the row if the last failure was none of
a loaded model; an answer always does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from modelplex.core.events import Refusal
from modelplex.core.limits import Limits

PAUSE_MIN_S = 1.0
_DOUBLINGS_MAX = 30  # far beyond any limit; keeps the power small


@dataclass(frozen=True, slots=True)
class Pause:
    """What went wrong with a model, and how its requests are refused until when."""

    until: float  # in the past if it only failed, and is not refused for that yet
    refusal: Refusal
    failure: object
    failures: int = 0  # in a row
    crashed: bool = False  # one of them happened to a loaded model
    refusals: int = 0  # in a row, for reasons that do not count as failures

    @property
    def quarantines(self) -> bool:
        """Whether only one request at a time may try it, when the pause is over."""
        return self.refusal is Refusal.QUARANTINED


def failed(
    earlier: Pause | None, failure: object, crashed: bool, now: float, limits: Limits
) -> Pause:
    """What follows from another failure that counts."""
    failures = (earlier.failures if earlier else 0) + 1
    crashed = crashed or (earlier is not None and earlier.crashed)
    beyond = failures - limits.quarantine_after
    if beyond < 0:
        return Pause(now, Refusal.FAILED, failure, failures, crashed)
    delay_s = min(PAUSE_MIN_S * 2.0 ** min(beyond, _DOUBLINGS_MAX), limits.quarantine_max_s)
    return Pause(now + delay_s, Refusal.QUARANTINED, failure, failures, crashed)


def loaded(earlier: Pause | None, now: float) -> Pause | None:
    """What is left of a pause when the model is loaded all the same."""
    if earlier is None or not earlier.crashed:
        return None
    return replace(earlier, until=min(now, earlier.until))


def refused(earlier: Pause | None, refusal: Refusal, failure: object, until: float) -> Pause:
    """Refuse a model until then, for a reason that does not count as its failure."""
    if earlier is None:
        return Pause(until, refusal, failure, refusals=1)
    refusals = earlier.refusals + 1
    if earlier.quarantines:  # the longer pause, and the earlier reason
        return replace(earlier, until=max(until, earlier.until), refusals=refusals)
    return replace(earlier, until=until, refusal=refusal, failure=failure, refusals=refusals)


def longer(earlier: Pause | None, pause_s: float) -> float:
    """A pause that is twice as long for each refusal of that kind before it."""
    refusals = earlier.refusals if earlier else 0
    return pause_s * 2.0 ** min(refusals, _DOUBLINGS_MAX)

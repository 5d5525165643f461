"""How many may wait for a model, and how long: overload is refused early, at the door.

A count says nothing of a wait: so a queue is measured in time, by what the model's answers take on
average. It has at most as many places as the model answers in `queue_wait_max_s`, and no more than
`USUAL_PLACES`; but quick models have as many as they answer in `BRIEF_S`, since a burst that is
over so soon is no overload.

A queue that has filled up to there is being asked for more than its worker gives, and not only for
a moment. Full, it would serve everybody as late as it may. So until it has run empty it has a tenth
of its places: the worker is as busy as before, and its answers are early again.

One model must not take the places of all the others: it may have as many as are left. So some are
always left for a model that has none, and models in overload share what there is (dynamic
thresholds: Choudhury and Hahne, 1998).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelplex.core import estimates
from modelplex.core.events import Refusal, Reject
from modelplex.core.model import Model, State

if TYPE_CHECKING:
    from modelplex.core.holdings import Holdings

USUAL_PLACES = 100  # Multi Model Server's job queue, whatever its models take
BRIEF_S = 2.0
SHRINK = 10
NEARLY = 0.01  # of `queue_wait_max_s`: whose wait ends so soon is refused at the same look

Refused = tuple[Refusal, object, float]


def places(handle_s: float, concurrency: int, wait_max_s: float, most: int) -> float:
    """How many may wait for a model whose answers take `handle_s`, `concurrency` at once; `most`
    while that is not known.
    """
    if not handle_s:
        return most
    per_s = concurrency / handle_s
    return min(most, max(min(USUAL_PLACES, per_s * wait_max_s), per_s * BRIEF_S))


def refusal(here: Holdings, model: Model, now: float) -> Refused | None:
    """Why another request may not wait for a model, and when to come back. Notes whether the model
    is asked for more than it gives.
    """
    limits, waiting = here.limits, len(model.queue)
    left = limits.queue_max - len(here.requests.waiting)
    if left <= 0:
        return Refusal.QUEUE_FULL, None, estimates.until_calm_s(here)
    most = model.rule.queue_max or limits.queue_per_model_max
    calm = places(model.usage.handle_s, limits.concurrency, limits.queue_wait_max_s, most)
    model.overloaded = waiting >= calm or (model.overloaded and waiting > 0)
    if waiting < left and waiting < (max(1.0, calm / SHRINK) if model.overloaded else calm):
        return None
    why = Refusal.OVERLOADED if model.overloaded and waiting < most else Refusal.QUEUE_FULL
    return why, None, estimates.until_room_s(here, model, now)


def deadline(here: Holdings, model: Model) -> float:
    """Until when the first in the queue of a loaded model may wait: its time counts from when its
    worker was there.
    """
    came_at = next(iter(model.queue.values()))
    return max(came_at, model.loaded_at or 0.0) + here.limits.queue_wait_max_s


def watch(here: Holdings, model: Model) -> None:
    """If somebody waits for the worker of this loaded model, look when that may be for too long."""
    if model.queue:
        due, look_at = deadline(here, model), here.requests.look_at
        here.requests.look_at = due if look_at is None else min(due, look_at)


def refuse_late(here: Holdings, now: float) -> list[Model]:
    """Refuse those that have waited too long for a worker; the models that nobody waits for now.

    It took longer than the answers before had let expect, so the queue was too long.
    """
    requests = here.requests
    if requests.look_at is None or requests.look_at > now:
        return []
    requests.look_at = None
    waiting = dict.fromkeys(requests.waiting.values())
    loaded = [model for model in waiting if model.state is State.LOADED]
    for model in loaded:
        _refuse_late(here, model, now)
        watch(here, model)
    return [model for model in loaded if not model.queue]


def _refuse_late(here: Holdings, model: Model, now: float) -> None:
    soon = now + here.limits.queue_wait_max_s * NEARLY
    while model.queue and deadline(here, model) <= soon:
        model.overloaded = True
        retry_after_s = estimates.until_room_s(here, model, now)
        request = here.requests.next(model)
        here.orders.append(Reject(request, Refusal.OVERLOADED, None, retry_after_s))

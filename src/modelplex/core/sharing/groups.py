"""Which models share a worker, and whose turn it is there.

A worker that holds many models does one thing at a time: a load, or one request. Its models take
turns, one request each. Workers have numbers, from 1 and never used twice; a model that lives alone
is in no group, and its worker is numbered 0.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from modelplex.core.limits import Limits
from modelplex.core.sharing.apart import Apart

ALONE = 0  # the number of a worker that holds one model
HOLES_MIN = 8  # a worker that has lost fewer models is not worth replacing
FIRST_MARGIN = 1.1  # on what first models took, their worker included
PATIENCE_ANSWERS = 4.0  # nobody is slow who takes no longer than so many usual answers
USUAL_STEP = 1.05  # by which each answer moves the usual one


@dataclass(slots=True, eq=False)
class Group:
    """The models of one worker."""

    number: int
    members: dict[str, None] = field(default_factory=dict)  # loading, loaded or on their way out
    guests: dict[str, None] = field(default_factory=dict)  # being moved in
    line: OrderedDict[str, float] = field(default_factory=OrderedDict)  # who waits, since when
    running: str = ""  # the model whose request it works on
    arriving: dict[str, None] = field(default_factory=dict)  # loads under way, in this order
    culprit: str = ""  # whose load or request killed it
    since: float = 0.0  # when it began what it does
    peak: int = 0  # the most members it ever had
    fresh: bool = True  # nothing was loaded into it yet
    worn: bool = False  # so many have left that a new worker would be smaller; takes nobody in
    dead: bool = False  # its process died; the facts about its models are on their way

    @property
    def size(self) -> int:
        return len(self.members) + len(self.guests)

    @property
    def free(self) -> bool:
        """Whether it would begin with a request at once."""
        return not self.running and not self.arriving and not self.dead


class Groups:
    """All groups of an instance. `here.groups` is None where every model lives alone."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.all: dict[int, Group] = {}
        self.of: dict[str, Group] = {}  # by member
        self.runs: dict[int, tuple[Group | None, str, float]] = {}  # request: where, model, since
        self.freed: dict[int, Group] = {}  # they can begin with something new
        self.loners: set[str] = set()  # models that cannot share, for what their artifacts need
        self.apart = Apart(limits.remembered_max)
        self.next_number = 1
        self.usual_s = limits.patience_s / PATIENCE_ANSWERS  # the median answer, about
        self.usual_load_s = self.usual_s  # and the median load
        self.first_bytes = 0.0  # what first models of workers took, on average; 0.0: nobody did
        self._roomy: dict[int, Group] = {}

    @property
    def patience_s(self) -> float:
        """How long a model may wait behind another: where all are slow, nobody is."""
        return max(self.limits.patience_s, PATIENCE_ANSWERS * self.usual_s)

    def stuck(self, group: Group, now: float) -> bool:
        """Whether a worker has been busy with the same for too long."""
        usual_s = self.usual_s if group.running else self.usual_load_s
        limit_s = max(self.limits.patience_s, PATIENCE_ANSWERS * usual_s)
        return not group.free and group.since + limit_s <= now

    # -- whose turn it is -----------------------------------------------------------------------

    def may(self, model: str) -> bool:
        """Whether a request for a loaded model may be forwarded now."""
        group = self.of.get(model)
        return group is None or (group.free and next(iter(group.line), model) == model)

    def begin(self, model: str, request: int, now: float) -> None:
        """A request was forwarded."""
        group = self.of.get(model)
        if group is not None:
            group.running, group.since = model, now
            group.line.pop(model, None)
        elif model not in self.apart:
            return
        self.runs[request] = group, model, now

    def end(self, request: int, now: float) -> None:
        """A forwarded request is done."""
        group, model, since = self.runs.pop(request, (None, "", 0.0))
        if group is not None:
            self.usual_s = _nearer(self.usual_s, now - since)
            group.running, group.since = "", now
            self._note_freed(group)
        elif model in self.apart and now - since > self.patience_s:
            self.apart.prolong(model, now)

    def wait(self, model: str, now: float) -> bool:
        """A loaded model has a request that is not its turn; whether it is new in the line."""
        group = self.of.get(model)
        if group is None or model in group.line:
            return False
        group.line[model] = now
        return True

    def quit_line(self, model: str) -> None:
        """Nobody waits for it any more, or it takes no requests."""
        if (group := self.of.get(model)) and group.line.pop(model, None) is not None:
            self._note_freed(group)

    def _load_ended(self, model: str, group: Group, now: float) -> None:
        del group.arriving[model]
        if not group.running:
            group.since = now
        self._note_freed(group)

    def _note_freed(self, group: Group) -> None:
        if group.number in self.all:
            self.freed[group.number] = group

    # -- who lives where ------------------------------------------------------------------------

    def target(self, model: str, now: float, avoid: Group | None = None) -> int:
        """The number of the worker that a model is to be loaded into: `ALONE`, one that is there,
        or a new one.
        """
        if model in self.loners or self.apart.holds(model, now):
            return ALONE
        group = self._best(now, avoid)
        return group.number if group else self.next_number

    def idle_target(self, now: float, avoid: Group) -> int | None:
        """The same for one that only has to wait for too long: not into the next queue.

        A new worker helps only as long as there are fewer than can work at once, as loads do.
        """
        group = self._best(now, avoid)
        if group is not None and group.free:
            return group.number
        return self.next_number if len(self.all) < self.limits.loads_max else None

    def _best(self, now: float, avoid: Group | None) -> Group | None:
        """One that is free rather than busy, and full rather than empty: few workers, few holes.

        While there are fewer workers than loads at once, two loads get a worker each.
        """
        roomy = [g for g in self._roomy.values() if g is not avoid and not self.stuck(g, now)]
        best = max(roomy, key=lambda g: (g.free, not g.arriving, g.size, g.number), default=None)
        spread = best is not None and best.arriving and len(self.all) < self.limits.loads_max
        return None if spread else best

    def first_extra(self, number: int) -> int:
        """Bytes that a load into this worker takes besides the model: a process, if it is new."""
        return 0 if number in self.all else int(self.first_bytes * FIRST_MARGIN)

    def join(self, model: str, number: int, now: float) -> None:
        """A load into this worker begins."""
        group = self._entered(model, number, now)
        group.members[model] = None
        self.of[model] = group
        self._sized(group)

    def invite(self, model: str, number: int, now: float) -> None:
        """A move into this worker begins."""
        group = self._entered(model, number, now)
        group.guests[model] = None
        self._sized(group)

    def _entered(self, model: str, number: int, now: float) -> Group:
        if number not in self.all:
            assert number == self.next_number, f"worker {number} was there before"
            self.next_number += 1
            self.all[number] = Group(number)
        group = self.all[number]
        if group.free:
            group.since = now
        group.arriving[model] = None
        return group

    def loaded(self, model: str, size_bytes: int, now: float) -> bool:
        """A load has ended well; whether it was the first of its worker, or alone."""
        group = self.of.get(model)
        first = group is None or group.fresh
        if group is not None:
            group.fresh = False
            self.usual_load_s = _nearer(self.usual_load_s, now - group.since)
            self._load_ended(model, group, now)
        if first:
            seen = self.first_bytes
            self.first_bytes = seen + 0.3 * (size_bytes - seen) if seen else size_bytes
        return first

    def moved(self, model: str, number: int, now: float) -> None:
        """A move has ended well: a guest becomes a member."""
        self.leave(model, now)
        if number != ALONE:
            group = self.all[number]
            del group.guests[model]
            group.members[model] = None
            group.fresh = False
            self.of[model] = group
            self._load_ended(model, group, now)
            self._sized(group)

    def stayed_away(self, model: str, number: int, now: float) -> bool:
        """A move has ended badly; whether it killed the worker."""
        if number == ALONE:
            return False
        group = self.all[number]
        del group.guests[model]
        self._load_ended(model, group, now)
        self._sized(group)
        return group.culprit == model and not self.apart.holds(model, now)

    def leave(self, model: str, now: float, loading: bool = False) -> None:
        """A model is in its worker no more; `loading`: it never was."""
        group = self.of.pop(model, None)
        if group is None:
            return
        del group.members[model]
        group.line.pop(model, None)
        if loading:
            self._load_ended(model, group, now)
        self._note_freed(group)
        holes = group.peak - len(group.members)
        group.worn = group.worn or holes >= max(HOLES_MIN, len(group.members))
        self._sized(group)

    def _sized(self, group: Group) -> None:
        group.peak = max(group.peak, len(group.members))
        if not group.size:
            del self.all[group.number]
            self.freed.pop(group.number, None)
        roomy = 0 < group.size < self.limits.models_per_worker and not group.worn and not group.dead
        if roomy:
            self._roomy[group.number] = group
        else:
            self._roomy.pop(group.number, None)

    # -- misfortune -----------------------------------------------------------------------------

    def crashed(self, model: str, now: float, worker_lives: bool = False) -> bool:
        """A model's worker died; whether the model did it, by its request or load. That one lives
        alone for a while. The worker takes nobody in any more, unless it lives.
        """
        if worker_lives:
            self.apart.offend(model, now)
            return True
        group = self.of.get(model)
        if group is None:
            if model in self.apart:
                self.apart.offend(model, now)
            return True
        if not group.dead:
            group.dead, group.culprit = True, group.running or next(iter(group.arriving), "")
            self._sized(group)
        guilty = group.culprit == model
        if guilty and not self.apart.holds(model, now):
            self.apart.offend(model, now)
        return guilty


def _nearer(usual_s: float, seconds: float) -> float:
    """A median that follows what is seen: a step up or down each time."""
    return usual_s * (USUAL_STEP if seconds > usual_s else 1 / USUAL_STEP)

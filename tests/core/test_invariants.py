"""One planted bug per invariant: each assertion of `check()` is shown to catch what it is for.

A bug is planted by hand into the books of a busy instance, as a forgotten or a wrong line of the
machine would leave them. Which assertion fires is read from its traceback, and all of them have to.
"""

from __future__ import annotations

import ast
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from modelplex.core import budget, invariants, queues, turns
from modelplex.core import events as e
from modelplex.core.holdings import Holdings
from modelplex.core.limits import Limits
from modelplex.core.model import Model, State
from modelplex.core.policies import ranking
from modelplex.core.protection import pin
from modelplex.core.quarantine import Pause
from modelplex.core.residency import Residency
from modelplex.core.rules import Rule
from modelplex.core.sharing import moves
from modelplex.core.versions.tracks import REJECTED_MAX, Track

LIMITS = Limits(
    memory_bytes=1000,
    disk_bytes=1000,
    fetches_max=1,
    loads_max=1,
    queue_max=8,
    answers_max=2,
    remembered_max=3,
    memory_guess_bytes=10,
    policy="lru",
)
# The one before, the one that serves, and the one to come.
VERSIONS = (("two", "v1"), ("two\nv2", "v2"), ("two\nv3", "v3"))
Place = tuple[str, int]


def busy_instance(limits: Limits = LIMITS) -> Residency:
    """Somebody in every place: in flight, queued, waiting for a turn, in both lines, at work."""
    here = Residency(limits)
    facts: list[e.Fact] = [e.Invoked(1, "gone"), e.FetchFailed("gone", "broken archive")]
    facts += [e.Recovered(name, 10, "same") for name in ("disk", "twin")]
    facts += [e.Recovered(key, 10, "", version) for key, version in VERSIONS]
    facts += [e.Recovered(name, 10) for name in ("hot", "warm", "turn", "slow", "next")]
    facts += [e.Wanted("warm"), e.Loaded("warm", 20), e.Invoked(2, "warm")]
    facts += [e.Invoked(3, "hot"), e.Loaded("hot", 20), e.Invoked(4, "hot")]
    facts += [e.Wanted("turn"), e.Loaded("turn", 20), e.Invoked(5, "turn")]
    facts += [e.Invoked(6, "slow"), e.Invoked(7, "next")]
    facts += [e.Invoked(8, "fetching"), e.Invoked(9, "cold")]
    facts += [e.Changed("hot", "v2")]
    for moment, fact in enumerate(facts):
        here.handle(fact, 100.0 + moment)
    here.check()
    return here


def sharing_instance() -> Residency:
    """Two models in one worker, the second waiting for the first, and one that is being moved."""
    here = Residency(replace(LIMITS, models_per_worker=3, answers_max=64))
    facts: list[e.Fact] = [e.Recovered(name, 10) for name in "abc"]
    facts += [e.Invoked(1, "a"), e.Loaded("a", 20), e.Answered(1)]
    facts += [e.Invoked(2, "b"), e.Loaded("b", 20), e.Answered(2)]
    facts += [e.Invoked(3, "a"), e.Invoked(4, "b")]
    for moment, fact in enumerate(facts):
        here.handle(fact, 100.0 + moment)
    orders = here.handle(e.Tick(), 120.0)
    assert [type(order) for order in orders] == [e.Move]
    here.check()
    return here


BUGS = [
    # what is held
    "here.memory.used_bytes += 1",
    "here.memory.leaving.add('nobody')",
    "here.memory.held['hot'] = -1; here.memory.used_bytes -= 21",
    "here.disk._content['twin'] = 'other'",
    "here.disk._twins['same']['disk'] += 1",
    "here.disk.held['twin'] += 1; here.disk.used_bytes += 1",
    "here.disk._content['hot'] = 'unique'",
    "here.memory.reserve('disk', 5)",
    "here.disk.reserve('gone', 5)",
    "here.memory.depart('hot')",
    "here.disk.depart('disk')",
    # requests
    "requests.forwarded[4] = hot",
    "requests.deadlines[99] = 1e9",
    "requests.deadlines[6] = 1e9",
    "del hot.queue[4]",
    "disk.queue = {99: 1.0}",
    "hot.in_flight[99] = 1.0",
    "disk.begin(3, 1.0); hot.in_flight.clear(); requests.forwarded[3] = disk",
    "here.enter(hot, State.DRAINING); here.memory.depart('hot'); del hot.in_flight[3]; "
    "requests.deadlines[4] = 1e9; hot.ticket = 99",
    "requests.forwarded[50] = hot; hot.in_flight[50] = 1.0",
    "here.turns.leave(turn); del requests.forwarded[2]; warm.in_flight.clear()",
    "requests.deadlines[4] = 1e9",
    "requests.look_at = None",
    "requests.look_at += 1.0",
    "hot.ticket = 99",
    "del requests.deadlines[9]",
    "disk.promised = True",
    # places
    "here.loaded.clear()",
    "del here.pinned['warm']",
    "hot.pinned = True; here.pinned['hot'] = hot",
    "hot.rule = Rule('*', weight=2.0)",
    "disk.cancelled = True",
    "gone.pause = None",
    # rankings, turns and quarantine
    "here.memory_ranking._settle(); here.memory_ranking._order.clear()",
    "here.memory_ranking._settle(); here.memory_ranking._models.clear()",
    "here.memory_ranking._settle(); here.memory_ranking._held_bytes += 1",
    "here.memory_ranking.remove(hot)",
    "here.disk_ranking.remove(disk)",
    "here.turns.order.clear()",
    "here.turns.models.clear()",
    "here.turns.join(warm)",
    "hot.pause = Pause(0.0, e.Refusal.QUARANTINED, 'bad')",
    # versions
    "here.model('two').wanted = True; pin(here, two)",
    "two.promised, two.ticket = True, 99; here.load_line.add(99, 'two')",
    "two.ticket = 99; here.load_line.add(99, 'two')",
    "load(here, two)",
    "here.disk.reserve('two\\nv9', 1); here.enter(here.model('two\\nv9'), State.ON_DISK)",
    "load(here, here.model('two\\nv3'))",
    "here.versions.known['gone'] = 'v1'",
    "track(here, 'two').back = True",
    "track(here).previous, track(here).back = 'hot', True",
    "track(here).previous = 'disk'",
    "here.model('hot\\nv0').pause = gone.pause; track(here).previous = 'hot\\nv0'",
    "track(here, 'two').rejected.update({f'v1{n}': '' for n in range(REJECTED_MAX + 1)})",
    "track(here).rejected['v2'] = 'bad'",
    "track(here, 'two').retry_at = 5.0",
    "here.versions.tracks['gone'] = here.versions.waiting['gone'] = Track('gone', 'gone'); "
    "track(here, 'gone').retry_at = 5.0",
    "here.versions.tracks['gone'] = Track('gone', 'gone')",
    # counts
    "ghost = Model('ghost'); ghost.enqueue(99, 1.0); requests.waiting[99] = ghost",
    "here.limits = replace(here.limits, queue_max=1)",
    "here.limits = replace(here.limits, answers_max=1)",
    "here.limits = replace(here.limits, answers_max=99)",
    "here.pinned['nobody'] = Model('nobody')",
    "here.fetch_line.remove(cold.ticket, 'cold'); here.disk.reserve('cold', 5); "
    "here.enter(cold, State.FETCHING)",
    "here.load_line.remove(here.model('next').ticket, 'next'); here.memory.reserve('next', 5); "
    "here.enter(here.model('next'), State.LOADING)",
    "for n in range(9): here.model(f'new{n}').pause = gone.pause",
    "here.absent['ghost'] = Model('ghost')",
    "here.orders.append(e.Cancel('hot'))",
    "here.load_line.places.clear()",
]


SHARING_BUGS = [
    "here.groups.freed[1] = here.groups.all[1]",
    "del here.groups.all[1]",
    "here.groups.all[1].members['c'] = None; here.groups.of['c'] = here.groups.all[1]",
    "here.memory.reserve('\\nc', 1)",
    "here.moves.open['b'] = 1",
    "here.limits = replace(here.limits, models_per_worker=1)",
    "del here.groups.of['a']",
    "here.groups.all[1].arriving['a'] = None",
    "here.groups.all[1].running = ''",
    "here.groups.all[1].line['c'] = 1.0",
    "del here.groups.all[1].line['b']",
]


def track(here: Holdings, name: str = "hot") -> Track:
    return here.versions.tracks[name]


def load(here: Holdings, model: Model) -> None:
    """Only where it lies."""
    here.memory.reserve(model.name, 5)
    here.enter(model, State.LOADING)
    here.enter(model, State.LOADED)


TOOLS = {
    "REJECTED_MAX": REJECTED_MAX,
    "Model": Model,
    "Pause": Pause,
    "Rule": Rule,
    "State": State,
    "Track": Track,
    "e": e,
    "load": load,
    "pin": pin,
    "replace": replace,
    "track": track,
}


def caught_by(residency: Residency, bug: str) -> Place | None:
    """The file and line of the assertion that finds a bug: code that has the models at hand."""
    here = residency.here
    exec(bug, {**TOOLS, **here.models, "here": here, "requests": here.requests})
    try:
        residency.check()
    except AssertionError as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        return Path(frame.filename).name, frame.lineno or 0
    return None


def assertions() -> Iterator[Place]:
    """Every assertion that `check()` may come to."""
    for module in (budget, invariants, moves, queues, ranking, turns):
        path = Path(module.__file__ or "")
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef) and "check" in function.name:
                asserts = (node for node in ast.walk(function) if isinstance(node, ast.Assert))
                yield from ((path.name, node.lineno) for node in asserts)


def test_every_planted_bug_is_caught_and_every_assertion_catches_one() -> None:
    """None of them is there in vain, or hidden behind another."""
    caught = {bug: caught_by(busy_instance(), bug) for bug in BUGS}
    caught |= {bug: caught_by(sharing_instance(), bug) for bug in SHARING_BUGS}
    assert not [bug for bug, place in caught.items() if place is None]
    assert not set(assertions()) - set(caught.values())

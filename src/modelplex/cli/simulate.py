"""`modelplex simulate`: how a fleet would do, before there is one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from modelplex.cli.output import json_option, say, show_json, show_table, size
from modelplex.core.log.checkpoint import BadCheckpoint
from modelplex.core.log.factlog import BadLog
from modelplex.core.policies import POLICIES
from modelplex.sim import plan, scenario
from modelplex.sim.document import ScenarioError, quantity
from modelplex.sim.failures import Death
from modelplex.sim.picture import draw, duration, seconds
from modelplex.sim.plan import Candidate, Hole
from modelplex.sim.replay import Outcome, replay_log
from modelplex.sim.scenario import Scenario
from modelplex.sim.statistics import Report
from modelplex.sim.trace import BadTrace

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_LOG = click.Path(path_type=Path, exists=True)  # a file, or the folder of its segments
_COUNT = click.IntRange(min=1)


@click.command()
@click.argument("file", required=False, type=_FILE, metavar="[SCENARIO.toml]")
@click.option("--models", type=_COUNT, help="How many models.")
@click.option("--size", "model_size", metavar="BYTES", help="Of a model, the median: 20MB.")
@click.option("--spread", metavar="SIGMA", help="Of the sizes, log-normal; 0: all alike.")
@click.option("--rate", metavar="PER_S", help="Requests per second, on average.")
@click.option("--skew", metavar="S", help="Of the popularity, Zipf's; 0: all alike.")
@click.option("--requests", type=_COUNT, help="How many requests.")
@click.option("--warmup", metavar="TIME", help="Nothing before it counts: 10min.")
@click.option("--trace", type=_FILE, help="Requests out of CSV: time_s,model[,size_bytes,…].")
@click.option("--log", type=_LOG, multiple=True, help="Requests out of an instance's fact log.")
@click.option("--type", "types", metavar="TYPE[,TYPE]", help="Of the instances: ml.m5.xlarge.")
@click.option("--instances", type=_COUNT, help="How many.")
@click.option("--memory", metavar="BYTES", help="Of an instance, for models: 12GiB.")
@click.option("--policy", metavar="NAME[,NAME]", help="Who is evicted first; all: side by side.")
@click.option("--kill", metavar="INSTANCE@TIME", help="It dies then: 0@10min, or 0@peak.")
@click.option("--target", metavar="TEXT", help="How many are needed for: 'cold<=2%'.")
@click.option("--most", default=64, type=_COUNT, help="Instances that --target may try.")
@click.option("--seed", type=int, help="Of everything invented.")
@click.option("--replay", "replayed", type=_LOG, help="Check a fact log's decisions instead.")
@click.option("--picture", type=click.Path(path_type=Path), help="Draw the course: FILE.svg.")
@json_option
def simulate(
    *,
    file: Path | None,
    types: str | None,
    policy: str | None,
    kill: str | None,
    target: str | None,
    most: int,
    replayed: Path | None,
    picture: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Play invented or recorded traffic over simulated instances, with the platform's decisions.

    A scenario file says everything; options change or replace what it says. The same scenario and
    seed come to the same result.
    """
    with _understandable():
        if replayed:
            _replay(replayed, as_json)
            return
        names = types.split(",") if types else []
        played = _scenario(file, {**options, "type": names[0] if names else None})
        if target:
            wanted = plan.Search(tuple(names), plan.target(target), most)
            _plan(played, wanted, as_json, picture)
        else:
            _compare(played, _policies(policy), kill, as_json, picture)


@contextmanager
def _understandable() -> Iterator[None]:
    """What is wrong with the input is one sentence; the exit status is 2."""
    try:
        yield
    except (ScenarioError, BadTrace, BadLog, BadCheckpoint, OSError) as error:
        raise click.UsageError(str(error)) from None


# -- input ----------------------------------------------------------------------------------------


def _scenario(file: Path | None, options: dict[str, Any]) -> Scenario:
    """The file's, with the options set in it."""
    tables: dict[str, Any] = scenario.load(file) if file else {}
    for option, (table, name) in _PLACES.items():
        given = options[option]
        if given is not None and given != ():
            _set(tables, table, name, given)
    return scenario.read(tables)


_PLACES = {  # option -> table of the scenario ("" for the top), name in it
    "models": ("models", "count"),
    "model_size": ("models", "size_bytes"),
    "spread": ("models", "size_spread"),
    "rate": ("traffic", "rate_per_s"),
    "skew": ("traffic", "skew"),
    "requests": ("", "requests"),
    "warmup": ("", "warmup_s"),
    "trace": ("", "trace"),
    "log": ("", "log"),
    "type": ("instances", "type"),
    "instances": ("instances", "count"),
    "memory": ("instances", "memory_bytes"),
    "seed": ("", "seed"),
}


def _set(tables: dict[str, Any], table: str, name: str, given: Any) -> None:
    """Models and traffic are lists of tables: an option speaks of a single one."""
    if isinstance(given, tuple):
        given = ",".join(map(str, given))
    elif isinstance(given, Path):
        given = str(given)
    if table in ("models", "traffic"):
        found = tables.setdefault(table, [{"count": 1000}] if table == "models" else [{}])
        if len(found) > 1:
            raise ScenarioError(f"the scenario has several {table}; change {name} there")
        found[0][name] = given
    elif table:
        tables.setdefault(table, {})[name] = given
    else:
        tables[name] = given


def _policies(given: str | None) -> list[str]:
    """By name; all that there are for "all"."""
    if not given:
        return []
    return list(POLICIES) if given == "all" else given.split(",")


def _death(text: str, report: Report) -> Death:
    """From "0@10min", "0@10min+1min" (it is back a minute later) or "0@peak"."""
    number, _, when = text.partition("@")
    when, _, down = when.partition("+")
    if not number.isdigit() or not when:
        raise ScenarioError(f"--kill is {text!r}; write INSTANCE@TIME such as 0@10min or 0@peak")
    at_s = plan.peak_s(report) if when == "peak" else quantity(when, "the time of --kill")
    down_s = quantity(down, "the time after + in --kill") if down else 30.0
    return Death(int(number), at_s, down_s)


# -- answers --------------------------------------------------------------------------------------


def _compare(
    played: Scenario, policies: list[str], kill: str | None, as_json: bool, picture: Path | None
) -> None:
    """One run per policy, and one more for each with the death in it."""
    runs: list[tuple[str, Report]] = []
    holes: list[tuple[str, Hole]] = []
    for name in policies or [played.make().limits.policy]:
        this = scenario.checked(played.with_policy(name))
        runs.append((name, this.run()))
        if kill:
            death = _death(kill, runs[-1][1])
            runs.append((f"{name}, {death.instance} dies", _with(this, death).run()))
            holes.append((name, plan.hole(runs[-1][1], death, this.warmup_s)))
    _draw(picture, runs)
    if as_json:
        show_json(
            {
                "runs": [{"name": name, **report.document()} for name, report in runs],
                "deaths": [{"name": name, **asdict(each)} for name, each in holes],
            }
        )
        return
    show_table(_COLUMNS, [_row(name, report) for name, report in runs], "Nothing was run.")
    for name, each in holes:
        click.echo(f"{name}: {_sentence(each)}")


def _with(played: Scenario, death: Death) -> Scenario:
    return scenario.checked(plan.with_death(played, death))


def _plan(played: Scenario, search: plan.Search, as_json: bool, picture: Path | None) -> None:
    tried = []
    for each in plan.candidates(played, search):
        tried.append(each)
        say(f"{each.count} x {each.type}: {'enough' if each.met else 'not enough'}")
    best = plan.cheapest(tried)
    _draw(picture, [(f"{best.count} x {best.type}", best.report)] if best else [])
    if as_json:
        show_json(
            {"candidates": [_candidate(each) for each in tried], "best": best and _candidate(best)}
        )
    else:
        ordered = sorted(tried, key=lambda each: (each.memory_gib, each.type))
        rows = [_candidate_row(each, each is best) for each in ordered]
        show_table(["", ">COUNT", "TYPE", ">GiB", ">VCPUS", *_COLUMNS[1:]], rows, "Nothing tried.")
    if best is None:
        say(f"Not even {search.count_max} instances are enough: more (--most), or a larger --type.")
        sys.exit(1)


def _replay(path: Path, as_json: bool) -> None:
    outcome = replay_log(path)
    if as_json:
        show_json(asdict(outcome))
    else:
        click.echo(_told(outcome))
    sys.exit(outcome.difference is not None)


def _draw(picture: Path | None, runs: list[tuple[str, Report]]) -> None:
    if picture and runs:
        picture.write_text(draw("modelplex simulate", runs), encoding="utf-8")
        say(f"Drawn: {picture}")


_COLUMNS = [
    *("RUN", ">REQUESTS", ">WARM", ">DISK", ">COLD", ">REFUSED", ">FAILED", ">P50", ">P99"),
    *(">P99.9", ">COST", ">FAIR", ">MEMORY"),
]


def _row(name: str, report: Report) -> list[str]:
    return [name, *_numbers(report)]


def _numbers(report: Report) -> list[str]:
    shares = (report.warm, report.disk, report.cold, report.refused, report.failed)
    waits = (report.wait_p50_s, report.wait_p99_s, report.wait_p999_s)
    return [
        str(report.requests),
        *(f"{share:.2%}" for share in shares),
        *(seconds(wait) for wait in waits),
        f"{report.cold_cost_s:.3g} s",
        f"{report.fairness:.2f}",
        size(report.memory_peak_bytes),
    ]


def _candidate(each: Candidate) -> dict[str, Any]:
    return {**asdict(each), "report": each.report.document()}


def _candidate_row(each: Candidate, best: bool) -> list[str]:
    mark = "best" if best else "enough" if each.met else ""
    fleet = [str(each.count), each.type, f"{each.memory_gib:g}", f"{each.vcpus:g}"]
    return [mark, *fleet, *_numbers(each.report)]


def _sentence(hole: Hole) -> str:
    recovered = "they were not as before again within this run"
    if hole.recovered_s is not None:
        recovered = f"they were as before again after {duration(hole.recovered_s)}"
    return (
        f"instance {hole.instance} died at {duration(hole.at_s)}; {hole.lost} requests were lost, "
        f"the 99th percentile of waits rose from {seconds(hole.before_s)} to "
        f"{seconds(hole.worst_s)}, and {recovered}."
    )


def _told(outcome: Outcome) -> str:
    facts = f"{outcome.facts} facts within {duration(outcome.seconds)}, {outcome.orders} orders"
    found = outcome.difference
    if found is None:
        return f"The same decisions: {facts}."
    place = f"line {found.line} of {found.segment}"
    lines = [f"The first difference is in {place}, after {facts}.", f"  {found.fact}"]
    lines += [f"  then: {order}" for order in found.recorded or ("nothing",)]
    lines += [f"  now:  {order}" for order in found.ordered or ("nothing",)]
    return "\n".join(lines)

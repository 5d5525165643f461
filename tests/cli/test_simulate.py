"""The command: options over scenario files, tables, JSON, pictures, errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from modelplex.cli.simulate import simulate
from modelplex.core import events
from modelplex.core.limits import Limits
from modelplex.core.log import checkpoint, factlog
from modelplex.core.log.factlog import Header
from modelplex.core.residency import Residency

SMALL = ("--models", "50", "--requests", "500", "--rate", "50")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(simulate, list(arguments))


def test_a_table_has_a_row_for_every_policy() -> None:
    result = run(*SMALL, "--policy", "lru,gdsf")
    assert result.exit_code == 0, result.output
    head, *rows = result.stdout.splitlines()
    assert head.split()[:5] == ["RUN", "REQUESTS", "WARM", "DISK", "COLD"]
    assert [row.split()[:2] for row in rows] == [["lru", "500"], ["gdsf", "500"]]


def test_options_replace_what_the_scenario_says(tmp_path: Path) -> None:
    path = tmp_path / "scenario.toml"
    path.write_text("requests = 300\n[[models]]\ncount = 20\n[limits]\npolicy = 'gdsf'\n")
    (of_file,) = json.loads(run(str(path), "--json").stdout)["runs"]
    (changed,) = json.loads(run(str(path), "--json", "--requests", "200").stdout)["runs"]
    assert (of_file["name"], of_file["requests"], changed["requests"]) == ("gdsf", 300, 200)


def test_a_death_is_told_in_a_sentence_and_drawn(tmp_path: Path) -> None:
    picture = tmp_path / "course.svg"
    result = run(
        *SMALL,
        "--instances",
        "2",
        "--policy",
        "lru",
        "--kill",
        "0@peak+2s",
        "--picture",
        str(picture),
    )
    assert result.exit_code == 0, result.output
    assert "lru: instance 0 died at" in result.stdout
    assert picture.read_text().startswith("<svg")


def test_a_target_is_answered_with_the_best_fleet() -> None:
    result = run(*SMALL, "--target", "not warm<=20%", "--type", "ml.m5.large", "--json")
    document = json.loads(result.stdout)
    assert document["best"]["count"] == 1
    assert document["candidates"][0]["met"]
    hopeless = run(*SMALL, "--target", "cold<=0%", "--most", "2")
    assert hopeless.exit_code == 1
    assert "Not even 2 instances" in hopeless.stderr


def test_a_log_is_replayed(tmp_path: Path) -> None:
    residency = Residency(Limits(memory_bytes=1000, disk_bytes=1000))
    lines = [factlog.head(Header("i", "1", 0.0, checkpoint.take(residency)))]
    fact = events.Invoked(1, "m")
    lines.append(factlog.line(1.0, fact, residency.handle(fact, 1.0)))
    path = tmp_path / "facts.log"
    path.write_text("".join(lines))
    result = run("--replay", str(path))
    assert (result.exit_code, result.stdout) == (
        0,
        "The same decisions: 1 facts within 0 s, 1 orders.\n",
    )
    path.write_text(lines[0] + factlog.line(1.0, fact, []))
    result = run("--replay", str(path))
    assert result.exit_code == 1
    assert "line 2" in result.stdout
    assert "then: nothing" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--policy", "best"), "no policy is called 'best'"),
        (("--type", "ml.tiny"), "no instance type"),
        (("--kill", "x"), "write INSTANCE@TIME"),
        (("--kill", "5@1min", "--instances", "2"), "there are 0 to 1"),
        (("--target", "fast"), "write one such as"),
        (("--size", "huge"), "20MB"),
    ],
)
def test_what_cannot_be_played_is_explained(arguments: tuple[str, ...], told: str) -> None:
    result = run(*SMALL, *arguments)
    assert result.exit_code == 2
    assert told in " ".join(result.stderr.split())


def test_options_do_not_guess_which_of_several_models_they_mean(tmp_path: Path) -> None:
    path = tmp_path / "scenario.toml"
    path.write_text("[[models]]\ncount = 20\n[[models]]\ncount = 20\n")
    result = run(str(path), "--models", "5")
    assert result.exit_code == 2
    assert "several models" in result.stderr

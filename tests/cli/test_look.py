"""What the commands show of an endpoint, for people and as JSON."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from tests.cli.conftest import Command
from tests.support.platform import COMMAND, Platform

pytestmark = pytest.mark.e2e


def test_ls(command: Command, endpoint: str) -> None:
    """Name and status of every endpoint."""
    assert endpoint in [each["EndpointName"] for each in command.json("ls")]
    assert f"{endpoint}  InService" in command.ok("ls")


def test_models(command: Command, endpoint: str) -> None:
    """Where each model is, its memory and how often it was asked."""
    command.ok("invoke", endpoint, "one.tar.gz")
    (row,) = [each for each in command.json("models", endpoint) if each["model"] == "one.tar.gz"]
    assert row["state"] == "loaded"
    assert row["memory_bytes"] > 0
    assert row["hits"] >= 1
    shown = [line.split() for line in command.ok("models", endpoint).splitlines()]
    assert ["one.tar.gz", row["instance"], "loaded"] in [cells[:3] for cells in shown]


def test_describe(command: Command, endpoint: str) -> None:
    """Status, variant, image, prefix and instances in one view."""
    document = command.json("describe", endpoint)
    assert document["endpoint"]["EndpointStatus"] == "InService"
    assert [each["status"] for each in document["instances"]] == ["Healthy"]
    text = command.ok("describe", endpoint)
    for part in ("ml.m5.xlarge", "echo", f"/{endpoint}/", document["instances"][0]["id"]):
        assert part in text


def test_invoke_tells_how_it_went(command: Command, endpoint: str) -> None:
    """--json has the start, the timing, and the body as text."""
    command.ok("invoke", endpoint, "one.tar.gz")
    answer = command.json("invoke", endpoint, "one.tar.gz", "-T", "text/plain", stdin=b"abc")
    assert (answer["start"], answer["variant"]) == ("warm", "AllTraffic")
    assert "handle;dur=" in answer["timing"]
    assert json.loads(answer["body"])["body"] == "abc"


def test_a_failing_model_has_its_own_exit_status(command: Command, endpoint: str) -> None:
    """3, with the handler's message and the command that shows its log."""
    said = command.fails("invoke", endpoint, "one.tar.gz", stdin=b"raise", code=3)
    assert "the handler was asked to raise" in said
    assert f"modelplex logs {endpoint} one.tar.gz" in said


def test_logs(command: Command, endpoint: str) -> None:
    """All lines of an endpoint, or one model's, which then carry its stream."""
    command.ok("invoke", endpoint, "deep/two.tar.gz")
    assert "answering" in command.ok("logs", endpoint)
    lines = command.ok("logs", endpoint, "deep/two.tar.gz", "--json").splitlines()
    events = [json.loads(line) for line in lines]
    assert events
    assert {each["logStreamName"].split("/", 2)[2] for each in events} == {"deep/two.tar.gz"}
    assert "Nothing within 1h" in command.run("logs", endpoint, "never.tar.gz").stderr
    assert "30s, 5m" in command.fails("logs", endpoint, "--since", "soon", code=2)


@pytest.mark.parametrize(
    "arguments",
    [("invoke", "m.tar.gz"), ("models",), ("describe",), ("logs",), ("delete",)],
)
def test_an_unknown_endpoint_is_met_with_a_guess(
    command: Command, endpoint: str, arguments: tuple[str, ...]
) -> None:
    """The names that are nearly the same."""
    name, *rest = arguments
    assert f"Did you mean {endpoint}?" in command.fails(name, endpoint + "s", *rest)


def test_an_unknown_name_lists_the_others(command: Command, endpoint: str) -> None:
    """Where no name is near, there are few enough to show."""
    assert endpoint in command.fails("describe", "zzzzzzzzzz")


def test_status(command: Command, platform: Platform) -> None:
    """Version, processes and the rule of sizes; no secrets."""
    text = command.ok("status")
    for part in ("gateway", "control", "s3", "running", "ml.m5.xlarge"):
        assert part in text
    assert platform.keys["secret_key"] not in command.ok("status", "--json")


def test_the_environment_names_the_platform(command: Command, nowhere: Command) -> None:
    """With AWS_ENDPOINT_URL set, commands need no data folder."""
    variables = json.loads(command.ok("env", "--shell", "json"))
    result = nowhere.run("ls", "--json", env=variables)
    assert result.exit_code == 0, result.output


def test_names_are_completed(platform: Platform, endpoint: str) -> None:
    """The shell asks the platform for endpoints, and nothing but names is printed."""
    env = {
        "_MODELPLEX_COMPLETE": "bash_complete",
        "COMP_WORDS": f"modelplex describe {endpoint[:2]}",
        "COMP_CWORD": "2",
    }
    bare = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    for data, said in ((platform.data, f"plain,{endpoint}"), ("/nowhere", "")):
        where = {**bare, "MODELPLEX_DATA": str(data)}
        where = {**os.environ, "MODELPLEX_DATA": str(data)}
        done = subprocess.run([COMMAND], env={**where, **env}, capture_output=True, text=True)
        assert (done.stdout.strip(), done.stderr) == (said, "")

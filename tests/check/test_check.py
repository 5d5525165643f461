"""`modelplex check`, from its command line: a good container, the real MMS, and a bad one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from modelplex.check.runs import CHECKS
from modelplex.check.samples import Loading, Samples
from modelplex.cli.check import check
from tests.support.containers import modelplex
from tests.support.mms import mms
from tests.support.processes import free_port, processes_of
from tests.support.servers import Server, lifetime

NAMES = {each.name for each in CHECKS}
BAD = [sys.executable, str(Path(__file__).with_name("bad_container.py")), "serve"]

# What Multi Model Server 1.1.11 does not keep to.
MMS_DEFECTS = {
    "load-garbage",  # an archive that is none is an empty model
    "bad-json",  # 500
    "memory-at-load-class",  # swallowed: 200
    "error-at-load-class",  # swallowed: 200
    "paging",  # an empty page at the end
    "get-while-loading",  # as if it were loaded
    "unload-under-load",  # a running request fails, a queued one is never answered
    "sigterm-drain",  # connections are reset
    "sigterm",  # workers are orphaned
}
MMS_RACES = {  # it may pass these
    "memory-at-load-function",  # 507, and mostly the model stays registered
    "error-at-load-function",  # it answers 500 just before it unregisters the model
}


def checked(*arguments: str) -> tuple[int, dict[str, str], Result]:
    """The exit status, the name of each check -> how it ended, and what was printed."""
    result = CliRunner().invoke(check, ["--json", *arguments])
    document: dict[str, Any] = json.loads(result.stdout or '{"checks": []}')
    found = {each["name"]: each["result"] for each in document["checks"]}
    return result.exit_code, found, result


def named(found: dict[str, str], verdict: str) -> set[str]:
    """The checks that ended so."""
    return {name for name, each in found.items() if each == verdict}


def test_our_server_keeps_the_contract(tmp_path: Path) -> None:
    """Everything passes, nothing is skipped, and no process is left."""
    status, found, result = checked("--", *modelplex(tmp_path))
    assert found == dict.fromkeys(NAMES, "passed"), result.stdout
    assert status == 0
    assert not processes_of(tmp_path)


@pytest.mark.mms
def test_multi_model_server_does_not(tmp_path: Path) -> None:
    """Its defects, and nothing else, are found."""
    status, found, result = checked("--timeout", "6", "--", *mms(tmp_path))
    failed = named(found, "failed")
    assert MMS_DEFECTS <= failed <= MMS_DEFECTS | MMS_RACES, result.stdout
    assert named(found, "passed") == NAMES - failed
    assert status == 1
    assert not processes_of(tmp_path)


def test_every_check_can_fail(tmp_path: Path) -> None:
    """A container that does all wrong passes what cannot be wrong when it answers at all.

    As it does one thing at a time, DELETE waits for what came before; MMS fails that check.
    """
    passed = {"start-up", "ping", "load", "unload-under-load"}
    status, found, result = checked("--timeout", "10", "--", *BAD, str(tmp_path))
    assert named(found, "passed") == passed, result.stdout
    assert named(found, "failed") == NAMES - passed
    assert status == 1
    assert not processes_of(tmp_path)


def test_a_given_model_at_an_address(tmp_path: Path) -> None:
    """Only what needs neither the checker's handlers nor the container's processes is tried."""
    body = tmp_path / "body"
    body.write_bytes(b"hello")
    folder = Samples(tmp_path / "samples").model(Loading())
    for server in lifetime(Server("modelplex", tmp_path)):
        options = ["--model", str(folder), "--body", str(body), server.command.url]
        status, found, result = checked(*options)
    assert named(found, "failed") == set(), result.stdout
    skipped = {each.name for each in CHECKS if each.own_models or each.command}
    assert named(found, "skipped") == skipped
    assert status == 0


def test_only_and_skip(tmp_path: Path) -> None:
    """Checks are chosen by name, and keep their order."""
    wanted = ["--only", "load", "--only", "ping", "--only", "start-up", "--skip", "load"]
    status, found, _ = checked(*wanted, "--", *BAD, str(tmp_path))
    assert (status, list(found)) == (0, ["start-up", "ping"])


def test_a_checker_that_is_ended_ends_its_container(tmp_path: Path) -> None:
    """SIGTERM to the checker leaves no process of the command's."""
    log = tmp_path / "log"
    command = [sys.executable, "-m", "modelplex", "check", "--log", str(log), "--", *BAD]
    process = subprocess.Popen([*command, str(tmp_path)], stderr=subprocess.PIPE)
    try:
        assert process.stderr
        assert process.stderr.readline().startswith(b"start-up: passed")
        process.terminate()
        process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 1
    assert not processes_of(tmp_path)


def test_the_table(tmp_path: Path) -> None:
    """For people: each check with what was seen, what the contract says, and where."""
    wanted = ["--only", "ping", "--only", "get-unknown"]
    result = CliRunner().invoke(check, [*wanted, "--", *BAD, str(tmp_path)])
    assert "1 passed, 1 failed, 0 skipped" in result.stdout
    assert "SageMaker: mms-container-apis" in result.stdout
    assert "GET /models/check-1 was answered 200; the contract says 404" in " ".join(
        result.stdout.split()
    )


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--only", "nothing", "http://127.0.0.1:1"], "no check is called nothing"),
        (["--", "/no/such/program"], "cannot start '/no/such/program'"),
        (["--", sys.executable, "-c", "raise SystemExit('no port')"], "ended with 1:\nno port"),
        ([f"http://127.0.0.1:{free_port()}"], "nobody answers at"),
        (["http://127.0.0.1/path"], "give http://HOST:PORT"),
        (["--body", __file__, "http://127.0.0.1:1"], "--body is a request for --model"),
    ],
)
def test_nothing_to_check(arguments: list[str], why: str) -> None:
    """What cannot be checked is told with a status of its own."""
    status, found, result = checked(*arguments)
    assert (status, found) == (2, {})
    assert why in result.stderr

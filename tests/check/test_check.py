"""`modelplex check`, from its command line: a good container, the real MMS, and a bad one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner

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


class Run(NamedTuple):
    """The exit status, the name of each check -> how it ended, and what was printed."""

    status: int
    found: dict[str, str]
    output: str
    errors: str


def checked(*arguments: str) -> Run:
    """Checks, in this process."""
    result = CliRunner().invoke(check, ["--json", *arguments])
    return Run(result.exit_code, verdicts(result.stdout), result.stdout, result.stderr)


def checked_apart(*arguments: str) -> Run:
    """Checks, in a process of its own."""
    command = [sys.executable, "-m", "modelplex", "check", "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    return Run(done.returncode, verdicts(done.stdout), done.stdout, done.stderr)


def verdicts(output: str) -> dict[str, str]:
    """How each check ended, by name."""
    document: dict[str, Any] = json.loads(output or '{"checks": []}')
    return {each["name"]: each["result"] for each in document["checks"]}


# What the tests of these names check as a whole: what is done with which container's folder.
WHOLE: dict[str, Callable[[Path], Run]] = {
    "test_multi_model_server_does_not": lambda at: checked_apart("--timeout=6", "--", *mms(at)),
    "test_our_server_keeps_the_contract": lambda at: checked_apart("--", *modelplex(at)),
    "test_every_check_can_fail": lambda at: checked_apart("--timeout=10", "--", *BAD, str(at)),
}


@pytest.fixture(scope="module")
def runs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, tuple[Future[Run], Path]]]:
    """Those of WHOLE that were asked for, side by side: most of their time they wait."""
    wanted = {item.name for item in request.session.items} & WHOLE.keys()
    folders = {name: tmp_path_factory.mktemp("whole") for name in wanted}
    with ThreadPoolExecutor(len(WHOLE)) as pool:
        yield {name: (pool.submit(WHOLE[name], at), at) for name, at in folders.items()}


@pytest.fixture
def whole(
    request: pytest.FixtureRequest, runs: dict[str, tuple[Future[Run], Path]]
) -> tuple[Run, Path]:
    """This test's run, and its container's folder."""
    future, folder = runs[request.node.name]
    return future.result(), folder


def named(found: dict[str, str], verdict: str) -> set[str]:
    """The checks that ended so."""
    return {name for name, each in found.items() if each == verdict}


def test_our_server_keeps_the_contract(whole: tuple[Run, Path]) -> None:
    """Everything passes, nothing is skipped, and no process is left."""
    run, folder = whole
    assert run.found == dict.fromkeys(NAMES, "passed"), run
    assert run.status == 0
    assert not processes_of(folder)


@pytest.mark.mms
def test_multi_model_server_does_not(whole: tuple[Run, Path]) -> None:
    """Its defects, and nothing else, are found."""
    run, folder = whole
    failed = named(run.found, "failed")
    assert MMS_DEFECTS <= failed <= MMS_DEFECTS | MMS_RACES, run
    assert named(run.found, "passed") == NAMES - failed
    assert run.status == 1
    assert not processes_of(folder)


def test_every_check_can_fail(whole: tuple[Run, Path]) -> None:
    """A container that does all wrong passes what cannot be wrong when it answers at all.

    As it does one thing at a time, DELETE waits for what came before; MMS fails that check.
    """
    passed = {"start-up", "ping", "load", "unload-under-load"}
    run, folder = whole
    assert named(run.found, "passed") == passed, run
    assert named(run.found, "failed") == NAMES - passed
    assert run.status == 1
    assert not processes_of(folder)


def test_a_given_model_at_an_address(tmp_path: Path) -> None:
    """Only what needs neither the checker's handlers nor the container's processes is tried."""
    body = tmp_path / "body"
    body.write_bytes(b"hello")
    folder = Samples(tmp_path / "samples").model(Loading())
    for server in lifetime(Server("modelplex", tmp_path)):
        options = ["--model", str(folder), "--body", str(body), server.command.url]
        run = checked(*options)
    assert named(run.found, "failed") == set(), run
    skipped = {each.name for each in CHECKS if each.own_models or each.command}
    assert named(run.found, "skipped") == skipped
    assert run.status == 0


def test_only_and_skip(tmp_path: Path) -> None:
    """Checks are chosen by name, and keep their order."""
    wanted = ["--only", "load", "--only", "ping", "--only", "start-up", "--skip", "load"]
    run = checked(*wanted, "--", *BAD, str(tmp_path))
    assert (run.status, list(run.found)) == (0, ["start-up", "ping"])


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
    run = checked(*arguments)
    assert (run.status, run.found) == (2, {})
    assert why in run.errors

"""Keeping real processes: started, restarted, stopped, buried, and never orphaned."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from tests.supervisor.conftest import Supervisor, is_alive
from tests.support.processes import eventually

SLEEP = ["/bin/sleep", "600"]
PYTHON = [sys.executable, "-I", "-S", "-c"]


async def test_a_killed_process_is_started_again(supervisor: Supervisor) -> None:
    """With `restart`, SIGKILL costs a process its id and nothing more."""
    _, first = await supervisor.put("one", SLEEP, restart=True)
    os.kill(first["pid"], signal.SIGKILL)
    row = await supervisor.until("one", state="running", exits=1)
    assert row["pid"] != first["pid"]
    assert row["last_exit"] == "killed by SIGKILL"


async def test_a_process_that_keeps_dying_is_not_given_up(supervisor: Supervisor) -> None:
    """Restarts go on, with delays that grow up to the setting."""
    await supervisor.put("one", [*PYTHON, "raise SystemExit(3)"], restart=True)
    row = await supervisor.until("one", exits=4)
    assert row["last_exit"] == "exit code 3"


async def test_a_process_without_restart_stays_listed(supervisor: Supervisor) -> None:
    """Whoever asked for it can read how it ended, until DELETE."""
    await supervisor.put("one", [*PYTHON, "raise SystemExit(7)"])
    row = await supervisor.until("one", state="exited")
    assert (row["exits"], row["last_exit"], row["pid"]) == (1, "exit code 7", None)
    assert (await supervisor.client.json("DELETE", "/processes/one"))[0] == 200
    assert (await supervisor.rows())["processes"] == {}


async def test_an_exited_process_can_be_asked_for_again(supervisor: Supervisor) -> None:
    """PUT of the same document starts another one when the first is over for good."""
    await supervisor.put("one", ["/bin/true"])
    await supervisor.until("one", state="exited")
    assert (await supervisor.put("one", ["/bin/true"]))[0] == 201


async def test_the_same_document_changes_nothing(supervisor: Supervisor) -> None:
    """PUT is idempotent while the process runs."""
    status, first = await supervisor.put("one", SLEEP)
    again, second = await supervisor.put("one", SLEEP)
    assert (status, again) == (201, 200)
    assert first["pid"] == second["pid"]


async def test_another_document_replaces_the_process(supervisor: Supervisor) -> None:
    """The old process is gone before the new one starts."""
    _, first = await supervisor.put("one", SLEEP)
    status, second = await supervisor.put("one", ["/bin/sleep", "601"])
    assert status == 201
    assert second["pid"] != first["pid"]
    assert not is_alive(first["pid"])


async def test_concurrent_puts_leave_one_process(supervisor: Supervisor) -> None:
    """Ten documents at once for one name: one of them runs, the others are gone."""
    answers = await asyncio.gather(
        *(supervisor.put("one", ["/bin/sleep", str(600 + n)]) for n in range(10))
    )
    await asyncio.sleep(0)
    alive = [row["pid"] for _, row in answers if is_alive(row["pid"])]
    assert alive == [(await supervisor.rows())["processes"]["one"]["pid"]]


async def test_delete_waits_and_then_kills(supervisor: Supervisor) -> None:
    """One that ignores SIGTERM gets SIGKILL after its grace; the answer comes when it is gone."""
    pid = await supervisor.stubborn("one")
    status, _ = await supervisor.client.json("DELETE", "/processes/one?grace_s=0.1")
    assert status == 200
    assert not is_alive(pid)


async def test_an_impatient_client_does_not_stop_a_stop(supervisor: Supervisor) -> None:
    """The stop goes on to its SIGKILL although the one who asked went away."""
    pid = await supervisor.stubborn("one", grace_s=0.5)
    impatient = asyncio.create_task(supervisor.client.json("DELETE", "/processes/one"))
    answer = await supervisor.rows()
    while answer["processes"].get("one", {}).get("state") == "running":  # then soon it is gone
        answer = await supervisor.rows(f"?after={answer['version']}&wait_s=20")
    impatient.cancel()
    await asyncio.to_thread(eventually, lambda: not is_alive(pid))
    assert (await supervisor.rows())["processes"] == {}


async def test_what_a_process_leaves_in_its_group_goes_too(supervisor: Supervisor) -> None:
    """A child that its parent forgot does not outlive it."""
    mark = supervisor.data / "child"
    code = (
        "import subprocess\n"
        f"child = subprocess.Popen({SLEEP})\n"
        f"open({str(mark)!r}, 'w').write(str(child.pid))"
    )
    await supervisor.put("one", [*PYTHON, code])
    await supervisor.until("one", state="exited")
    await asyncio.to_thread(eventually, lambda: not is_alive(int(mark.read_text())))


async def test_orphans_in_other_sessions_are_found(supervisor: Supervisor) -> None:
    """A daemon that left its session is adopted by the supervisor, killed, and reaped."""
    mark = supervisor.data / "daemon"
    code = (
        "import subprocess\n"
        f"child = subprocess.Popen({SLEEP}, start_new_session=True)\n"
        f"open({str(mark)!r}, 'w').write(str(child.pid))"
    )
    await supervisor.put("one", [*PYTHON, code])
    await supervisor.until("one", state="exited")
    pid = int(mark.read_text())
    await asyncio.to_thread(eventually, lambda: not Path(f"/proc/{pid}").exists())


async def test_terminate_stops_everything(supervisor: Supervisor) -> None:
    """SIGTERM: exit code 0, and no process is left."""
    for name in ("one", "two", "three"):
        await supervisor.put(name, SLEEP, restart=True)
    assert supervisor.end(signal.SIGTERM) == 0
    await asyncio.to_thread(eventually, supervisor.nothing_left)


async def test_a_second_signal_kills_at_once(supervisor: Supervisor) -> None:
    """Whoever presses Ctrl-C twice does not wait for a stubborn process."""
    await supervisor.stubborn("one", grace_s=600)
    supervisor.process.send_signal(signal.SIGINT)
    await asyncio.to_thread(eventually, lambda: "platform.stopping" in supervisor.log())
    assert supervisor.end(signal.SIGINT) == 0
    assert "platform.killed" in supervisor.log()
    await asyncio.to_thread(eventually, supervisor.nothing_left)


async def test_nothing_is_started_while_stopping(supervisor: Supervisor) -> None:
    """A reconciler that asks for a replacement during the stop is refused."""
    await supervisor.stubborn("one")
    supervisor.process.send_signal(signal.SIGTERM)
    await supervisor.until("one", state="stopping")
    status, answer = await supervisor.put("two", SLEEP)
    assert status == 503
    assert "being stopped" in answer["message"]


async def test_kill_9_of_the_supervisor_leaves_nothing(supervisor: Supervisor) -> None:
    """Polite children, stubborn ones, and the guard itself are gone soon after."""
    await supervisor.put("polite", SLEEP, restart=True)
    await supervisor.stubborn("stubborn", restart=True)
    supervisor.end(signal.SIGKILL)
    await asyncio.to_thread(eventually, supervisor.nothing_left)


async def test_kill_9_of_the_supervisor_leaves_no_grandchild(supervisor: Supervisor) -> None:
    """What a stubborn process has started goes with it, in whatever session that is."""
    mark = supervisor.data / "mark"
    code = (
        "import signal, subprocess, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        f"subprocess.Popen({SLEEP}, start_new_session=True, cwd={str(supervisor.data)!r}); "
        f"open({str(mark)!r}, 'w').close(); time.sleep(600)"
    )
    await supervisor.put("stubborn", [*PYTHON, code])
    await asyncio.to_thread(eventually, mark.exists)
    supervisor.end(signal.SIGKILL)
    await asyncio.to_thread(eventually, supervisor.nothing_left)


async def test_a_killed_guard_is_replaced(supervisor: Supervisor) -> None:
    """The new guard knows the processes that were there before it."""
    await supervisor.stubborn("stubborn")
    (guard,) = guards_of(supervisor)
    os.kill(guard, signal.SIGKILL)
    await asyncio.to_thread(eventually, lambda: guards_of(supervisor) not in ([], [guard]))
    supervisor.end(signal.SIGKILL)
    await asyncio.to_thread(eventually, supervisor.nothing_left)


def guards_of(supervisor: Supervisor) -> list[int]:
    """The children of the supervisor that run the guard."""
    path = Path(f"/proc/{supervisor.process.pid}/task/{supervisor.process.pid}/children")
    return [int(pid) for pid in path.read_text().split() if b"guard.py" in arguments_of(pid)]


def arguments_of(pid: str) -> bytes:
    """A process's command line; nothing if it has ended since it was listed."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


async def test_output_goes_to_a_file_of_bounded_size(supervisor: Supervisor) -> None:
    """A log file is rotated at its limit, and the last three are kept."""
    path = supervisor.data / "logs" / "one.log"
    code = "for n in range(500): print(f'line {n}', flush=True)"
    await supervisor.put("one", [*PYTHON, code], log=str(path))
    await supervisor.until("one", state="exited")
    await asyncio.to_thread(eventually, lambda: "line 499" in path.read_text())
    files = sorted(path.parent.iterdir())
    assert [each.name for each in files] == ["one.log", "one.log.1", "one.log.2", "one.log.3"]
    assert all(each.stat().st_size <= 1000 for each in files)


async def test_environment_is_added_and_the_folder_is_set(supervisor: Supervisor) -> None:
    """`env` comes on top of the supervisor's own; `cwd` is where the process starts."""
    out = supervisor.data / "out"
    code = f"import os; open({str(out)!r}, 'w').write(os.environ['A'] + os.getcwd())"
    await supervisor.put("one", [*PYTHON, code], env={"A": "x"}, cwd=str(supervisor.data))
    await supervisor.until("one", state="exited")
    assert out.read_text() == "x" + str(supervisor.data)

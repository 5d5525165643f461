"""A real supervisor in a temporary folder, and what /proc says of its processes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from modelplex.http.client import Client
from tests.support.processes import eventually, processes_of

STUBBORN = (
    "import signal, time\n"
    "for n in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP): signal.signal(n, signal.SIG_IGN)\n"
    "open({mark!r}, 'w').close()\n"
    "time.sleep(600)\n"
)


class Supervisor:
    """`driver.py` as a process, and a client of its socket."""

    def __init__(self, data: Path, stop_timeout_s: float = 30.0) -> None:
        self.data = data
        driver = str(Path(__file__).with_name("driver.py"))
        with data.with_name("supervisor.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, driver, str(data), str(stop_timeout_s)],
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n", self.log()
        self.client = Client(f"unix:{data}/run/supervisor.sock")

    def log(self) -> str:
        return self.data.with_name("supervisor.log").read_text()

    async def put(self, name: str, argv: list[str], **terms: Any) -> tuple[int, Any]:
        """PUT /processes/NAME; the data folder in the environment marks the process as ours."""
        env = {"MARK": str(self.data), **terms.pop("env", {})}
        document = {"argv": argv, "env": env, **terms}
        return await self.client.json("PUT", f"/processes/{name}", document)

    async def rows(self, query: str = "") -> Any:
        return (await self.client.json("GET", f"/processes{query}", timeout_s=60.0))[1]

    async def until(self, name: str, **wanted: Any) -> dict[str, Any]:
        """Wait until the process's row has these members."""
        answer = await self.rows()
        async with asyncio.timeout(30):
            while True:
                row = answer["processes"].get(name, {})
                if all(row.get(key) == value for key, value in wanted.items()):
                    return dict(row)
                answer = await self.rows(f"?after={answer['version']}&wait_s=20")

    async def stubborn(self, name: str, **terms: Any) -> int:
        """A process that ignores every polite signal; its process id."""
        mark = self.data / f"{name}.mark"
        argv = [sys.executable, "-I", "-S", "-c", STUBBORN.format(mark=str(mark))]
        _, row = await self.put(name, argv, **terms)
        await asyncio.to_thread(eventually, mark.exists)
        return int(row["pid"])

    def end(self, how: signal.Signals) -> int:
        self.process.send_signal(how)
        return self.process.wait(timeout=60)

    def nothing_left(self) -> bool:
        return not processes_of(self.data)


@pytest.fixture
async def supervisor(tmp_path: Path) -> AsyncIterator[Supervisor]:
    """One supervisor; whatever a test leaves of it is killed."""
    one = Supervisor(tmp_path / "data")
    yield one
    await one.client.close()
    bury(one)


def bury(one: Supervisor) -> None:
    """Kill what is left; for the end of tests."""
    if one.process.poll() is None:
        one.process.kill()
    one.process.wait()
    assert one.process.stdout is not None
    one.process.stdout.close()
    for pid in processes_of(one.data):
        os.kill(pid, signal.SIGKILL)


def is_alive(pid: int) -> bool:
    """Whether the process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False

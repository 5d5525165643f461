"""The provider that asks the supervisor, against a supervisor's API made of its real parts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from modelplex.control.processes import Processes
from modelplex.control.provider import Process, ProviderFailed
from modelplex.http.messages import Request, Response, explain
from modelplex.http.server import Server, serve
from tests.engine.fake import listening

ID = "i-0123456789abcdef0"


class Supervisor:
    """The API of run/supervisor.sock, without the processes."""

    def __init__(self) -> None:
        self.processes: dict[str, dict[str, Any]] = {}
        self.documents: dict[str, Any] = {}
        self.version = 0
        self.refuse = ""
        self._changed = asyncio.Event()
        self.server: Server

    async def handle(self, request: Request) -> Response:
        name = request.path.decode().rpartition("/")[2]
        match request.method:
            case "GET":
                after = request.query.partition(b"after=")[2].partition(b"&")[0]
                while after == str(self.version).encode():
                    await self._changed.wait()
                found = {"version": self.version, "processes": self.processes}
                return Response(200, [], json.dumps(found).encode())
            case "PUT" if self.refuse:
                return explain(400, self.refuse)
            case "PUT":
                self.documents[name] = json.loads(await request.body.read(10**6))
                self.change(name, "running", 7)
                return Response(201, [], b"{}")
        if self.processes.pop(name, None) is None:
            return explain(404, "unknown")
        self.ring()
        return Response(200, [], b"{}")

    def change(self, name: str, state: str, pid: int | None, last_exit: str | None = None) -> None:
        row = {"pid": pid, "state": state, "started_at": 1.0, "exits": 0, "last_exit": last_exit}
        self.processes[name] = row
        self.ring()

    def ring(self) -> None:
        self.version += 1
        self._changed.set()
        self._changed = asyncio.Event()


@pytest.fixture
async def supervisor(tmp_path: Path) -> AsyncIterator[Supervisor]:
    (tmp_path / "run").mkdir()
    found = Supervisor()
    found.server = await serve(found.handle, f"unix:{tmp_path / 'run' / 'supervisor.sock'}")
    yield found
    await found.server.close(0.0)


@pytest.fixture
async def provider(tmp_path: Path, supervisor: Supervisor) -> AsyncIterator[Processes]:
    found = Processes(tmp_path, grace_s=3.0)
    yield found
    await found.close()


async def test_an_instance_is_started_from_a_file_that_only_its_owner_reads(
    tmp_path: Path, supervisor: Supervisor, provider: Processes
) -> None:
    """The supervisor is given the argv that internal-api.md names, and no restart of its own."""
    await provider.start({"id": ID, "s3": {"secret_key": "x"}})
    path = tmp_path / "instances" / ID / "spec.json"
    assert json.loads(path.read_text())["s3"] == {"secret_key": "x"}
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    document = supervisor.documents[ID]
    assert document["argv"][1:] == ["-m", "modelplex.instance", str(path)]
    assert (document["restart"], document["grace_s"]) == (False, 3.0)
    assert not (path.parent / ".spec.json").exists()


async def test_stopping_removes_the_socket_and_forgetting_the_folder(
    tmp_path: Path, supervisor: Supervisor, provider: Processes
) -> None:
    """What is stopped twice, or never was, is gone all the same."""
    await provider.start({"id": ID})
    socket = tmp_path / "run" / f"{ID}.sock"
    socket.touch()
    await provider.stop(ID, forget=False)
    assert not socket.exists()
    assert (tmp_path / "instances" / ID).exists()
    await provider.stop(ID, forget=True)
    assert not (tmp_path / "instances" / ID).exists()
    await provider.stop("i-" + "f" * 17, forget=True)


async def test_containers_of_a_stopped_instance_are_removed(
    tmp_path: Path, supervisor: Supervisor, provider: Processes
) -> None:
    """An instance that was killed has left them with its engine; which may be gone as well."""
    with listening(tmp_path / "engine.sock") as fake:
        fake.containers = {"a": [f"modelplex.instance={ID}"], "b": ["modelplex.instance=i-2"]}
        await provider.start({"id": ID, "image": {"kind": "oci", "engine": fake.url}})
        await provider.stop(ID, forget=False)
        assert list(fake.containers) == ["b"]
    await provider.stop(ID, forget=True)
    assert not (tmp_path / "instances" / ID).exists()


async def test_watching_tells_every_change(supervisor: Supervisor, provider: Processes) -> None:
    """At once what is, then what becomes of it."""
    supervisor.change("gateway", "running", 5)
    watch = aiter(provider.watch())
    async with asyncio.timeout(30):
        assert dict(await anext(watch)) == {"gateway": Process(True, 5, 1.0)}
        await provider.start({"id": ID})
        assert (await anext(watch))[ID] == Process(True, 7, 1.0)
        supervisor.change(ID, "exited", None, "killed by SIGKILL")
        assert (await anext(watch))[ID] == Process(False, None, 1.0, "killed by SIGKILL")


async def test_a_refusal_and_a_silence_are_failures_with_reasons(
    tmp_path: Path, supervisor: Supervisor, provider: Processes
) -> None:
    """The reason ends up in FailureReason or in the log."""
    supervisor.refuse = "cannot be started: no such file"
    with pytest.raises(ProviderFailed, match="no such file"):
        await provider.start({"id": ID})
    (tmp_path / "instances" / "i-1").write_text("in the way")
    with pytest.raises(ProviderFailed, match="cannot be written"):
        await provider.start({"id": "i-1"})
    await supervisor.server.close(0.0)
    with pytest.raises(ProviderFailed, match="did not answer"):
        await provider.stop(ID, forget=False)

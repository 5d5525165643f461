"""Many small models in few processes, on a real instance."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from modelplex.core.events import Resized
from modelplex.instance import spec as specs
from modelplex.instance.agent import Agent
from modelplex.instance.life import Instance
from modelplex.workers import cgroups
from modelplex.workers.worker import Invocation
from tests.instance.running import MIB, Running, S3Server
from tests.support import asking
from tests.support.models import make_archive, make_image
from tests.support.waiting import eventually

SHARED = 20  # models per worker
MODELS = [f"m{number}" for number in range(60)]

# A class, and nothing of it global: what an image promises that says models_per_worker.
HANDLER = """
import json
import os
import time
from pathlib import Path


def wait_for(path):
    while not os.path.exists(path):
        time.sleep(0.01)


class Handler:
    def initialize(self, context):
        folder = Path(context.system_properties["model_dir"])
        self.weights = (folder / "weights.txt").read_text()
        self.answered = 0
        if self.weights.startswith("sleep"):
            time.sleep(float(self.weights.split()[1]))
        if self.weights.startswith("until"):
            wait_for(self.weights.split()[1])

    def handle(self, data, context):
        self.answered += 1
        match bytes(data[0]["body"]).decode().split():
            case ["sleep", seconds]:
                time.sleep(float(seconds))
            case ["until", path]:
                wait_for(path)
            case ["crash"]:
                os.kill(os.getpid(), 11)
            case ["hog"]:
                raise MemoryError
        facts = {"weights": self.weights, "pid": os.getpid(), "answered": self.answered}
        return [json.dumps(facts)]
"""


def make(
    tmp_path_factory: pytest.TempPathFactory,
    s3: S3Server,
    memory_bytes: int,
    patience_s: float = 30.0,  # machines are busy: whom another one holds up would move
) -> Running:
    """An instance of an image whose models share, not started yet."""
    image = make_image(tmp_path_factory.mktemp("image"), HANDLER)
    changes = {"memory_bytes": memory_bytes, "limits": {"patience_s": patience_s}}
    running = Running(tmp_path_factory.mktemp("shared"), s3, image, changes)
    running.spec["image"] |= {"models_per_worker": SHARED, "handler": "model_handler.py:Handler"}
    return running


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, s3: S3Server) -> Iterator[Running]:
    """One with 60 models in the store."""
    running = make(tmp_path_factory, s3, 1024 * MIB)
    for model in MODELS:
        running.put(model)
    running.start()
    yield running
    running.stop()


@pytest.fixture
async def instance(running: Running) -> AsyncIterator[Running]:
    yield await running.healthy()
    await running.leave()


async def invoke_all(instance: Running, models: list[str]) -> dict[str, int]:
    """Ask each; the processes that answered."""
    replies = await asyncio.gather(*(instance.invoke(model) for model in models))
    assert [reply.status for reply in replies] == [200] * len(models), replies[0].body
    assert [reply.document["weights"] for reply in replies] == models
    return {model: reply.document["pid"] for model, reply in zip(models, replies, strict=True)}


async def test_sixty_models_answer_from_a_few_processes(instance: Running) -> None:
    pids = await invoke_all(instance, MODELS)
    assert len(set(pids.values())) <= len(MODELS) / SHARED + 2
    rows = (await instance.report())["models"]
    assert {row["model"]: row["pid"] for row in rows} == pids
    assert all(row["worker"] > 0 for row in rows)


async def test_a_slow_model_does_not_hold_up_its_neighbours(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, s3: S3Server
) -> None:
    """They are answered while it works, for as long as that is, and it lives apart afterwards."""
    running = make(tmp_path_factory, s3, 1024 * MIB, patience_s=0.1)
    running.spec["vcpus"] = 1.0  # one load at a time, so one worker
    slow, *neighbours = names = MODELS[:5]
    for name in names:
        running.put(name)
    async with started(running) as agent:
        (pid,) = {(await ask(agent, name))["pid"] for name in names}
        asked = asyncio.create_task(ask(agent, slow, f"until {tmp_path}/go".encode()))
        await eventually(lambda: agent.residency.here.models[slow].in_flight)
        answers = await asyncio.gather(*(ask(agent, name) for name in neighbours))
        assert [answer["weights"] for answer in answers] == neighbours
        assert not asked.done()
        (tmp_path / "go").touch()
        assert (await asked)["pid"] == pid
        await eventually(lambda: agent.residents.number(slow) == 0)


async def test_a_crash_costs_its_caller_an_error_and_the_others_a_reload(instance: Running) -> None:
    pids = await invoke_all(instance, MODELS)
    victim = next(m for m in MODELS[1:] if list(pids.values()).count(pids[m]) > 2)
    neighbours = [m for m in MODELS if pids[m] == pids[victim] and m != victim]
    crash = asyncio.create_task(instance.invoke(victim, b"crash"))
    after = await invoke_all(instance, neighbours)
    assert (await crash).error == "ModelError"
    assert pids[victim] not in after.values()
    await invoke_all(instance, [victim])
    assert (await instance.row(victim))["worker"] == 0


async def test_who_runs_out_of_memory_is_loaded_anew_and_lives_alone(instance: Running) -> None:
    """Only its own caller notices: nobody else is loaded again."""
    pids = await invoke_all(instance, MODELS)
    victim = next(m for m in MODELS[1:] if list(pids.values()).count(pids[m]) > 2)
    neighbours = [m for m in MODELS if pids[m] == pids[victim] and m != victim]
    reply = await instance.invoke(victim, b"hog")
    assert (reply.error, reply.document["OriginalStatusCode"]) == ("ModelError", 507)
    assert (await instance.row(victim))["state"] == "on_disk"
    assert {pids[victim]} == set((await invoke_all(instance, neighbours)).values())
    again = (await instance.invoke(victim)).document
    assert (again["weights"], again["answered"]) == (victim, 1)
    assert (await instance.row(victim))["worker"] == 0


async def test_a_client_that_leaves_does_not_disturb_a_move(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, s3: S3Server
) -> None:
    """In this process, so that the move can be seen."""
    running = make(tmp_path_factory, s3, 1024 * MIB, patience_s=0.1)
    load, answer = tmp_path / "load", tmp_path / "answer"
    running.put("moved", f"until {load}")
    running.put("busy")
    async with started(running) as agent:
        load.touch()
        for model in ("moved", "busy"):
            before = await ask(agent, model)
        load.unlink()
        busy = asyncio.create_task(ask(agent, "busy", f"until {answer}".encode()))
        await eventually(lambda: agent.residency.here.models["busy"].in_flight)
        waiting = asyncio.create_task(ask(agent, "moved"))
        await eventually(lambda: "moved" in agent.residency.here.moves.open)
        waiting.cancel()
        load.touch()
        await eventually(lambda: "moved" not in agent.residency.here.moves.open)
        after = await ask(agent, "moved")
        answer.touch()
        assert (after["weights"], after["answered"]) == (f"until {load}", 1)
        assert after["pid"] != before["pid"] == (await busy)["pid"]
        assert agent.residents.number("moved") != agent.residents.number("busy")
        agent.residency.check()


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
async def test_nothing_is_left_however_it_ends(
    tmp_path_factory: pytest.TempPathFactory, s3: S3Server, end: signal.Signals
) -> None:
    """With shared workers, twins and their template, and a new version that is being loaded."""
    running = make(tmp_path_factory, s3, 1024 * MIB)
    running.spec["limits"]["refresh_interval_s"] = 0.05
    running.spec["rules"] = {"rules": [{"pattern": "m*", "refresh": True}], "rejected": []}
    twin = make_archive({"weights.txt": "twin"})
    for name in ("twin1", "twin2"):
        s3.put(running.bucket, f"models/{name}", twin)
    for name in ("m1", "m2"):
        running.put(name)
    running.start()
    await running.healthy()
    await invoke_all(running, ["m1", "m2"])
    for name in ("twin1", "twin2"):
        await running.invoke(name, b"hog")  # it lives alone from now on
        assert (await running.invoke(name)).status == 200
    running.put("m1", "sleep 600")

    async def loading() -> bool:
        return "loading" in {row["state"] for row in (await running.report())["models"]}

    await running.until(loading)
    process = running.process
    assert process is not None
    groups = [place / f"modelplex-{process.pid}" for place in cgroups._places()]
    await running.leave()
    process.send_signal(end)
    assert process.wait(60) == (0 if end == signal.SIGTERM else -end)
    running.expect_gone()
    assert "model.crashed" not in running.errors().partition('"twin2"')[2]
    if end == signal.SIGKILL:
        running.start()
        await running.healthy()
        await running.leave()
    assert not [folder for folder in groups if folder.exists()]
    assert not list((running.home / "instance/disk/tmp").iterdir())
    running.stop()


async def test_a_worker_that_lost_most_of_its_models_is_replaced(
    tmp_path_factory: pytest.TempPathFactory, s3: S3Server
) -> None:
    """In this process, so that memory can be taken from it."""
    running = make(tmp_path_factory, s3, 1024 * MIB)
    running.spec["vcpus"] = 1.0  # one load at a time, so one worker
    names = [f"m{number}" for number in range(16)]
    for name in names:
        running.put(name)
    async with started(running) as agent:
        await asyncio.gather(*(ask(agent, name) for name in names))
        (first,) = {worker.pid for worker in agent.workers.values()}
        agent.notify(Resized(sum(agent.residency.memory.held[name] for name in names[-6:])))
        await eventually(lambda: not os.path.exists(f"/proc/{first}"))
        kept = list(agent.workers)
        assert 0 < len(kept) <= 8
        answers = await asyncio.gather(*(ask(agent, name) for name in kept))
        assert len({answer["pid"] for answer in answers} - {first}) == 1


@contextlib.asynccontextmanager
async def started(running: Running) -> AsyncIterator[Agent]:
    """The instance in this process."""
    instance = Instance(specs.parse(running.spec), on_defect=pytest.fail)
    await instance.start()
    assert instance.agent is not None, instance.reason
    try:
        yield instance.agent
    finally:
        await instance.stop()


async def ask(agent: Agent, model: str, body: bytes = b"") -> dict[str, object]:
    answer, _ = await asking.ask(agent, model, Invocation([], body))
    return dict(json.loads(answer.body))

"""Many small models in few processes, on a real instance."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator

import pytest

from modelplex.core.events import Resized
from modelplex.instance import spec as specs
from modelplex.instance.agent import Agent
from modelplex.instance.calls import Call
from modelplex.instance.life import Instance
from modelplex.workers.worker import Invocation
from tests.instance.running import MIB, Running, S3Server
from tests.support.models import make_image
from tests.support.waiting import eventually

SHARED = 20  # models per worker
MODELS = [f"m{number}" for number in range(60)]

# A class, and nothing of it global: what an image promises that says models_per_worker.
HANDLER = """
import json
import os
import os
import time
from pathlib import Path


class Handler:
    def initialize(self, context):
        folder = Path(context.system_properties["model_dir"])
        self.weights = (folder / "weights.txt").read_text()

    def handle(self, data, context):
        match bytes(data[0]["body"]).decode().split():
            case ["sleep", seconds]:
                time.sleep(float(seconds))
            case ["crash"]:
                os.kill(os.getpid(), 11)
        return [json.dumps({"weights": self.weights, "pid": os.getpid()})]
"""


def make(tmp_path_factory: pytest.TempPathFactory, s3: S3Server, memory_bytes: int) -> Running:
    """An instance of an image whose models share, not started yet."""
    image = make_image(tmp_path_factory.mktemp("image"), HANDLER)
    changes = {"memory_bytes": memory_bytes, "limits": {"patience_s": 0.4}}  # machines are busy
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


async def test_a_slow_model_does_not_hold_up_its_neighbours(instance: Running) -> None:
    pids = await invoke_all(instance, MODELS)
    neighbours = [model for model in MODELS[1:] if pids[model] == pids[MODELS[0]]]
    slow = asyncio.create_task(instance.invoke(MODELS[0], b"sleep 2"))
    await instance.until_row(MODELS[0], in_flight=1)
    await invoke_all(instance, neighbours)
    assert not slow.done()
    assert (await slow).document["pid"] == pids[MODELS[0]]
    await instance.until_row(MODELS[0], worker=0)  # it lives apart now


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


async def test_a_worker_that_lost_most_of_its_models_is_replaced(
    tmp_path_factory: pytest.TempPathFactory, s3: S3Server
) -> None:
    """In this process, so that memory can be taken from it."""
    running = make(tmp_path_factory, s3, 1024 * MIB)
    running.spec["vcpus"] = 1.0  # one load at a time, so one worker
    names = [f"m{number}" for number in range(16)]
    for name in names:
        running.put(name)
    instance = Instance(specs.parse(running.spec), on_defect=pytest.fail)
    await instance.start()
    agent = instance.agent
    assert agent is not None, instance.reason
    try:
        await asyncio.gather(*(ask(agent, name) for name in names))
        (first,) = {worker.pid for worker in agent.workers.values()}
        agent.notify(Resized(sum(agent.residency.memory.held[name] for name in names[-6:])))
        await eventually(lambda: not os.path.exists(f"/proc/{first}"))
        kept = list(agent.workers)
        assert 0 < len(kept) <= 8
        answers = await asyncio.gather(*(ask(agent, name) for name in kept))
        assert len({answer["pid"] for answer in answers} - {first}) == 1
    finally:
        await instance.stop()


async def ask(agent: Agent, model: str) -> dict[str, object]:
    async def nobody(_: bytes) -> None:
        """Hears that it waits."""

    answer = await agent.invoke(Call(model, 0.0), Invocation([], b""), nobody)
    return dict(json.loads(answer.body))

"""Many models in one container, against one that does what the test wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from modelplex.instance.containers.pool import ContainerPool
from modelplex.instance.containers.tenant import Tenant
from modelplex.workers.errors import (
    LoadFailed,
    NotBegun,
    OutOfMemory,
    StartFailed,
    TimedOut,
    TookTooMuch,
    WorkerDied,
)
from modelplex.workers.invocations import Invocation
from modelplex.workers.model import ModelSpec
from tests.instance.containers.fake import MIB, Script, place, terms
from tests.support.clocks import hurried_clock
from tests.support.waiting import eventually


class Lab:
    """A pool over a scripted container, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.script = Script(folder)
        self.told: list[str] = []
        self.output: list[str] = []
        self.pool = self.make()

    def make(self, **changes: Any) -> ContainerPool:
        """Another pool, with other settings."""
        surroundings = place(self.folder, self.output.append)
        self.pool = ContainerPool(self.script, surroundings, terms(**changes), self.told.append)
        return self.pool

    def spec(self, name: str) -> ModelSpec:
        """A model; its name is that of its opaque folder too."""
        return ModelSpec(name, self.folder / "models" / name / "model")

    async def load(self, name: str, timeout_s: float = 30) -> Tenant:
        return await self.pool.load(self.spec(name), timeout_s)


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    """Ends its container."""
    lab = Lab(tmp_path)
    yield lab
    await lab.pool.close()


def ask(body: bytes = b"hi") -> Invocation:
    """One request."""
    return Invocation([(b"accept", b"a/b")], body)


async def test_a_model_is_loaded_answers_and_leaves(lab: Lab) -> None:
    """Under the name of its folder, with its part of the memory, which comes back."""
    await lab.pool.start()
    assert lab.output == ["hello from the container"]
    assert lab.pool.base_bytes() == 100 * MIB
    tenant = await lab.load("a")
    assert lab.script.last.models == ["a"]
    assert tenant.memory_bytes() == 10 * MIB
    assert (await tenant.invoke(ask(), 5)).body == b"hi"
    assert await tenant.unload() == 10 * MIB
    assert (lab.script.last.models, tenant.memory_bytes()) == ([], 0)
    with pytest.raises(NotBegun):
        await tenant.invoke(ask(), 5)


async def test_what_nobody_wants_is_unloaded_at_start(lab: Lab) -> None:
    """The platform owns the set of loaded models, however many pages it has."""
    lab.script.brings, lab.script.page = ["x", "y", "z"], 2
    await lab.pool.start()
    assert lab.script.last.models == []


async def test_a_model_that_is_there_already_is_loaded_anew(lab: Lab) -> None:
    """409: it may be another version of it."""
    await lab.pool.start()
    lab.script.last.models.append("a")
    await lab.load("a")
    assert lab.script.asked.count(("DELETE", "/models/a")) == 1
    assert lab.script.last.models == ["a"]


async def test_a_507_leaves_no_zombie(lab: Lab) -> None:
    """Multi Model Server keeps a model that it had no memory for: it is deleted, then reported."""
    await lab.pool.start()
    lab.script.keeps_what_fails = True
    lab.script.replies["POST", "/models"] = [507]
    with pytest.raises(OutOfMemory):
        await lab.load("a")
    assert lab.script.last.models == []
    assert (await lab.load("a")).memory_bytes() == 10 * MIB


async def test_a_refusal_is_told_in_the_containers_words(lab: Lab) -> None:
    """With its status."""
    await lab.pool.start()
    lab.script.replies["POST", "/models"] = [400]
    with pytest.raises(LoadFailed, match="said 400") as caught:
        await lab.load("a")
    assert caught.value.status == 400


async def test_a_load_that_is_given_up_is_undone(lab: Lab) -> None:
    """Also when it turns up later, because the container went on with it."""
    await lab.pool.start()
    lab.script.hangs.add(("POST", "/models"))
    with pytest.raises(LoadFailed, match=r"within 0\.05 s"):
        await lab.load("a", timeout_s=0.05)
    await eventually(lambda: ("DELETE", "/models/a") in lab.script.asked)
    lab.script.last.models.append("a")
    await eventually(lambda: not lab.script.last.models)


async def test_an_unload_that_fails_is_tried_again(lab: Lab) -> None:
    """Until the model is gone."""
    await lab.pool.start()
    tenant = await lab.load("a")
    lab.script.replies["DELETE", "/models/a"] = [500, 500]
    await tenant.unload()
    await eventually(lambda: not lab.script.last.models)


async def test_a_missing_answer_costs_the_model_its_place(lab: Lab) -> None:
    """It is timed out and unloaded; whoever else waits for it hears so at once."""
    await lab.pool.start()
    tenant, other = await lab.load("a"), await lab.load("b")
    lab.script.hangs.add(("POST", "/models/a/invoke"))
    patient = asyncio.create_task(tenant.invoke(ask(), 60))
    await eventually(lambda: tenant.busy)
    with pytest.raises(TimedOut):
        await tenant.invoke(ask(), 0.05)
    with pytest.raises(WorkerDied):
        await patient
    assert not tenant.blameless
    await eventually(lambda: lab.script.last.models == ["b"])
    assert (await other.invoke(ask(), 5)).status == 200


async def test_a_dead_container_takes_its_models_along_and_comes_back(lab: Lab) -> None:
    """Who had a request is blamed; the others are not."""
    await lab.pool.start()
    busy, idle = await lab.load("a"), await lab.load("b")
    lab.script.hangs.add(("POST", "/models/a/invoke"))
    asking = asyncio.create_task(busy.invoke(ask(), 60))
    await eventually(lambda: ("POST", "/models/a/invoke") in lab.script.asked)
    await lab.script.last.die("killed by SIGKILL", out_of_memory=True)
    with pytest.raises(TookTooMuch, match="the container ended: killed by SIGKILL"):
        await asking
    assert str(await idle.exited) == "the container ended: killed by SIGKILL"
    assert (busy.blameless, idle.blameless) == (False, True)
    assert (await lab.load("b")).memory_bytes() == 10 * MIB
    assert len(lab.script.lives) == 2
    assert lab.script.lives[0].stopped
    assert lab.told == ["The container has ended: killed by SIGKILL. It is started again."]


async def test_a_death_for_lack_of_memory_refuses_the_load_that_it_came_with(lab: Lab) -> None:
    """Not as a 507 to be tried again at once: each try might cost all models their place."""
    await lab.pool.start()
    lab.script.hangs.add(("POST", "/models"))
    loading = asyncio.create_task(lab.load("a"))
    await eventually(lambda: ("POST", "/models") in lab.script.asked)
    await lab.script.last.die("out of memory", out_of_memory=True)
    with pytest.raises(LoadFailed) as caught:
        await loading
    assert (type(caught.value), caught.value.status) == (LoadFailed, 507)


async def test_an_unhealthy_container_is_started_again(lab: Lab) -> None:
    """After several bad pings in a row."""
    await lab.make(container_unhealthy_after=3).start()
    tenant = await lab.load("a")
    lab.script.replies["GET", "/ping"] = [500, 500, 200, 500, 500, 500]
    assert "3 bad pings in a row" in str(await tenant.exited)
    await lab.load("a")
    assert len(lab.script.lives) == 2


async def test_a_container_that_does_not_unload_is_started_again(lab: Lab) -> None:
    """There is no other way to its memory."""
    await lab.make(container_unload_timeout_s=0.05).start()
    tenant = await lab.load("a")
    lab.script.hangs.add(("DELETE", "/models/a"))
    await tenant.unload()
    await eventually(lambda: len(lab.script.lives) == 2)


async def test_a_grown_container_without_models_is_started_again(lab: Lab) -> None:
    """What it leaked comes back."""
    await lab.pool.start()
    tenant = await lab.load("a")
    lab.script.last.extra_bytes = 600 * MIB
    await lab.pool.measure()
    assert len(lab.script.lives) == 1
    await tenant.unload()
    await lab.pool.measure()
    await eventually(lambda: len(lab.script.lives) == 2)


@pytest.mark.parametrize(
    ("trouble", "sentence"),
    [
        ({("GET", "/ping"): [500] * 99}, "GET /ping was answered 500 said 500"),
        ({("GET", "/models"): [404] * 99}, "GET /models was answered 404 said 404"),
    ],
)
async def test_a_container_that_never_passes_is_ended(
    lab: Lab, trouble: dict[tuple[str, str], list[int]], sentence: str
) -> None:
    """With SageMaker's words and the reason; nothing of it is left."""
    lab.script.replies = trouble
    starting = asyncio.create_task(lab.make(health_timeout_s=60).start())
    await eventually(lambda: lab.script.asked.count(("GET", "/ping")) > 1)
    with hurried_clock() as forward:
        forward(100.0)
        with pytest.raises(StartFailed) as caught:
            await starting
    assert str(caught.value) == (
        "The primary container for production variant AllTraffic did not pass the ping health "
        f"check within 60 s: {sentence}. See log group g."
    )
    assert lab.script.last.stopped


async def test_a_container_that_ends_at_its_start_is_quoted(lab: Lab) -> None:
    """How it ended, and the last that it said."""
    lab.script.dies_at_start = True
    with pytest.raises(StartFailed) as caught:
        await lab.pool.start()
    assert str(caught.value) == (
        "The primary container for production variant AllTraffic did not pass the ping health "
        'check: it ended before that (exit code 3). Its last words: "hello from the container". '
        "See log group g."
    )


async def test_a_container_that_cannot_be_started_again_says_why(lab: Lab) -> None:
    """Loads fail at once while that is so, and work again when it does."""
    await lab.pool.start()
    lab.script.fails_to_start = True
    await lab.script.last.die()
    await eventually(lambda: any("could not be started" in each for each in lab.told))
    with pytest.raises(LoadFailed, match=r"The engine is not there\.") as caught:
        await lab.load("a")
    assert caught.value.status == 503
    lab.script.fails_to_start = False
    await eventually(lambda: lab.pool.zygote_pid is not None)
    await lab.load("a")


async def test_a_lost_answer_of_a_living_container_is_the_clients_alone(lab: Lab) -> None:
    """The model stays: SageMaker answers with status 0, too."""
    await lab.make(container_ping_timeout_s=0.1, container_ping_interval_s=600.0).start()
    tenant = await lab.load("a")
    lab.script.last.drops_next = True
    answer = await tenant.invoke(ask(), 5)
    assert answer.status == 0
    assert b"was not answered" in answer.body
    assert (await tenant.invoke(ask(), 5)).status == 200

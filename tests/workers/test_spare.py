"""The worker that is forked before it is needed: the next model gets it, and nobody a bad one."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from modelplex.workers.limits import PoolLimits
from modelplex.workers.process import pss_bytes


@pytest.fixture
async def stage(make_stage: Any) -> Any:
    return await make_stage(limits=PoolLimits(spare=True))


def pids(stage: Any) -> list[int]:
    return sorted(process.pid for process in stage.pool._nursery.living)


async def test_the_next_model_gets_it_and_another_one_comes(stage: Any, tools: Any) -> None:
    await tools.eventually(lambda: len(pids(stage)) == 1)
    (spare,) = pids(stage)
    first = await stage.load("first")
    assert first.pid == spare
    assert first.steps["fork"] == 0.0
    assert first.name == "first"
    assert (await tools.ask(first, b"hello")).body == b"hello"
    await tools.eventually(lambda: len(pids(stage)) == 2)
    assert (await stage.load("second")).pid in pids(stage)


async def test_models_at_once_are_forked_for(stage: Any, tools: Any) -> None:
    await tools.eventually(lambda: len(pids(stage)) == 1)
    first, second = await stage.load("first"), await stage.load("second")
    assert first.pid != second.pid
    assert second.steps["fork"] > 0.0


async def test_what_it_prints_is_its_models(make_stage: Any, tools: Any) -> None:
    handler = "def handle(data, context):\n    print('here')\n    return None\n"
    stage = await make_stage(handler, limits=PoolLimits(spare=True))
    await tools.eventually(lambda: len(pids(stage)) == 1)
    await stage.load("talker")
    await tools.eventually(lambda: stage.printed("talker") == ["here"])


async def test_a_dead_one_is_nobodys(stage: Any, tools: Any) -> None:
    await tools.eventually(lambda: len(pids(stage)) == 1)
    (spare,) = pids(stage)
    os.kill(spare, signal.SIGKILL)
    await tools.eventually(lambda: not pids(stage))
    worker = await stage.load()
    assert worker.pid != spare
    assert (await tools.ask(worker, b"x")).body == b"x"


async def test_it_ends_with_its_zygote(stage: Any, tools: Any) -> None:
    await tools.eventually(lambda: len(pids(stage)) == 1)
    (spare,) = pids(stage)
    os.kill(stage.pool.zygote_pid, signal.SIGKILL)
    await tools.eventually(lambda: spare not in pids(stage) and len(pids(stage)) == 1)
    assert not pss_bytes(spare)
    assert (await tools.ask(await stage.load(), b"x")).body == b"x"

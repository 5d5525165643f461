"""The workers of one model, as real processes: started, shared, replaced, scaled, drained."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import pytest

from modelplex.server.errors import Internal, ModelNotFound, OutOfResources, Unavailable
from modelplex.server.serving.models import State
from modelplex.server.serving.staff import next_delay_s
from modelplex.workers.invocations import Invocation
from tests.server.conftest import HANDLER, MakeShop, Shop, eventually
from tests.support.clocks import hurried_clock

WEIGHTS = "WEIGHTS = bytearray(os.urandom(1024)) * (40 * 1024)\n"  # 40 MiB
THREAD = "import threading; threading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"
BATCHES = """
def handle(data, context):
    return None if data is None else [str(len(data)) for _ in data]
"""


def pids(shop: Shop, name: str = "m") -> list[int]:
    return [row.pid for row in shop.models.find(name).rows() if row.pid]


async def test_a_row_describes_a_worker(shop: Shop) -> None:
    """Ids count up; the rest is what the worker is."""
    await shop.load(initial_workers=2)
    first, second = shop.models.find("m").rows()
    assert int(second.id) == int(first.id) + 1 >= 9001
    assert first.status == second.status == "READY"
    assert first.pid != second.pid
    assert not first.gpu
    assert first.memory_bytes > 0
    assert first.started_at > 1_700_000_000


async def test_gpus_are_given_in_turn(make_shop: MakeShop) -> None:
    """Each worker loads for itself then, for its GPU is decided at load."""
    shop = await make_shop(number_of_gpu=2)
    source = """
def handle(data, context):
    return None if data is None else [str(context.system_properties["gpu_id"])] * len(data)
"""
    await shop.load(source=source, initial_workers=2)
    rows = shop.models.find("m").rows()
    assert [row.gpu for row in rows] == [True, True]
    answers = [await asyncio.gather(shop.ask("a"), shop.ask("b")) for _ in range(5)]
    assert {gpu for pair in answers for gpu in pair} == {"0", "1"}
    assert len(shop.processes()) == 3


async def test_several_workers_share_one_load(shop: Shop) -> None:
    """The model is loaded once into a template, which is one process more."""
    await shop.load(source=HANDLER + WEIGHTS, initial_workers=3)
    assert len(shop.processes()) == 1 + 1 + 3
    for row in shop.models.find("m").rows():
        assert row.memory_bytes < 30 * 1024 * 1024


async def test_one_worker_has_no_template_unless_preloaded(shop: Shop) -> None:
    """`preload_model` is for models that will be scaled up."""
    await shop.load("one")
    assert len(shop.processes()) == 1 + 1
    await shop.load("two", preload=True)
    assert len(shop.processes()) == 1 + 1 + 2


async def test_a_template_with_threads_is_given_up(shop: Shop, caplog: Any) -> None:
    """They would not survive the fork: each worker loads for itself, and the log says so."""
    await shop.load(source=HANDLER + THREAD, initial_workers=2)
    assert len(shop.processes()) == 1 + 2
    assert await shop.ask("hello") == "hello"
    assert "template.has_threads" in caplog.text


async def test_scaling_up_and_down(shop: Shop) -> None:
    """From 1 upwards makes a template; down to 1 gives it back, and lets busy workers finish."""
    await shop.load()
    (first,) = pids(shop)
    await shop.models.scale("m", 3, None, synchronous=True)
    assert len(set(pids(shop))) == 3
    assert len(shop.processes()) == 1 + 1 + 3
    held = await shop.hold()
    await shop.models.scale("m", 1, None, synchronous=True)
    assert len(pids(shop)) == 1
    assert len(shop.processes()) == 1 + 1
    model = shop.models.find("m")
    assert (model.min_workers, model.max_workers) == (1, 1)
    down = asyncio.create_task(shop.models.scale("m", 0, None, synchronous=True))
    await eventually(lambda: model.min_workers == 0)
    shop.release()
    assert await held == "hold"
    await down
    assert first not in shop.processes()
    assert len(shop.processes()) == 1
    with pytest.raises(Unavailable, match="No worker is available"):
        await shop.ask("hello")
    await shop.models.scale("m", 1, 2, synchronous=True)
    assert await shop.ask("hello") == "hello"


async def test_a_failed_scaling_changes_nothing(shop: Shop) -> None:
    """The workers that were there stay, and the numbers are as before."""
    folder = shop.make("m")
    await shop.load()
    (folder / "service.py").write_text("raise ValueError('no more')")
    with pytest.raises(Internal, match="Failed to start workers: ValueError: no more"):
        await shop.models.scale("m", 3, None, synchronous=True)
    model = shop.models.find("m")
    assert (model.min_workers, model.max_workers, len(pids(shop))) == (1, 1, 1)
    assert await shop.ask("hello") == "hello"


async def test_a_dead_worker_is_replaced(shop: Shop) -> None:
    """The request it had gets 500 and how it died; a queued one is answered by the next."""
    await shop.load()
    (before,) = pids(shop)
    held = await shop.hold()
    queued = asyncio.create_task(shop.ask("pid"))
    await eventually(lambda: shop.models.find("m").queued == 1)
    os.kill(before, signal.SIGKILL)
    with pytest.raises(Internal, match="Worker died: killed by SIGKILL"):
        await held
    assert int(await queued) != before
    assert [row.status for row in shop.models.find("m").rows()] == ["READY"]


async def test_replacements_come_from_the_template(shop: Shop) -> None:
    """And a template that died is made anew."""
    await shop.load(initial_workers=2)
    workers = set(pids(shop))
    zygote, template = (pid for pid in shop.processes() if pid not in workers)
    for pid in (template, *workers):
        os.kill(pid, signal.SIGKILL)
    await eventually(lambda: len(pids(shop)) == 2 and not workers & set(pids(shop)))
    assert zygote in shop.processes()
    assert await shop.ask("hello") == "hello"
    assert len(shop.processes()) == 1 + 1 + 2


async def test_a_worker_that_cannot_come_back_strands_nobody(shop: Shop) -> None:
    """Who waits for it is refused with the reason; when the cause is gone, it comes."""
    folder = shop.make("m")
    await shop.load()
    (folder / "service.py").write_text("raise ValueError('broken')")
    with pytest.raises(Internal, match="Worker died: exit code 3"):
        await shop.ask("exit")
    with pytest.raises(Internal, match="Failed to start workers: ValueError: broken"):
        await shop.ask("hello")
    assert [row.status for row in shop.models.find("m").rows()] == ["LOADING"]
    (folder / "service.py").write_text(HANDLER)
    await eventually(lambda: pids(shop))
    assert await shop.ask("hello") == "hello"


def test_delays_before_replacements_grow_to_their_limit() -> None:
    """Each is twice the last."""
    delays = [0.0]
    while delays[-1] < 30.0:
        delays.append(next_delay_s(delays[-1], 30.0))
    assert delays[1:4] == [0.1, 0.2, 0.4]
    assert next_delay_s(30.0, 30.0) == 30.0


async def test_a_slow_answer_costs_the_worker_its_life(shop: Shop) -> None:
    """After response_timeout it is replaced."""
    await shop.load(response_timeout_s=60)
    slow = await shop.hold()
    with hurried_clock() as forward:
        forward(100.0)
        with pytest.raises(Internal, match=r"Worker died: the handler took longer than 60 s"):
            await slow
    assert await shop.ask("hello") == "hello"


async def test_requests_become_batches(shop: Shop) -> None:
    """Those that come while the model is loading are there at once."""
    shop.make("m", BATCHES)
    load = asyncio.create_task(shop.load(batch_size=4, max_batch_delay_s=0.01))
    await eventually(lambda: shop.models.page(1, "")[0])
    asked = [asyncio.create_task(shop.ask("x")) for _ in range(6)]
    await load
    assert sorted(await asyncio.gather(*asked)) == ["2", "2", "4", "4", "4", "4"]
    assert await shop.ask("alone") == "1"


async def test_the_queue_is_bounded(make_shop: MakeShop) -> None:
    """job_queue_size wait; the next is refused; a cancelled one gives its place back."""
    shop = await make_shop(job_queue_size=2)
    await shop.load()
    held = await shop.hold()
    queued = [asyncio.create_task(shop.ask(f"{number}")) for number in range(2)]
    await eventually(lambda: shop.models.find("m").queued == 2)
    with pytest.raises(Unavailable, match="job queue size"):
        await shop.ask("2")
    queued[0].cancel()
    late = asyncio.create_task(shop.ask("3"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    shop.release()
    assert await held == "hold"
    assert await queued[1] == "1"
    assert await late == "3"


async def test_submit_tells_once(shop: Shop) -> None:
    """The callback interface that the fast path uses."""
    await shop.load()
    told: list[Any] = []
    model = shop.models.find("m")
    model.submit(Invocation([], b"hello"), told.append, lambda: False)
    assert not told
    await eventually(lambda: told)
    assert bytes(told[0].body) == b"hello"
    await shop.models.unregister("m")
    assert model.state is State.UNLOADING
    model.submit(Invocation([], b"hello"), told.append, lambda: False)
    assert isinstance(told[1], ModelNotFound)


async def test_a_handler_that_raises_is_an_answer(shop: Shop) -> None:
    """With its failure; the worker lives on."""
    await shop.load()
    answer = await shop.answer("raise")
    assert answer.failure == "raised"
    assert await shop.ask("hello") == "hello"


@pytest.mark.parametrize("workers", [1, 2])
async def test_out_of_memory_at_load(make_shop: MakeShop, workers: int) -> None:
    """A load gets what memory_limit_bytes leaves: MemoryError, not the kernel's killer."""
    shop = await make_shop(memory_limit_bytes=200 * 1024 * 1024)
    hog = HANDLER + "HOG = [bytearray(1024 * 1024) for _ in range(1000)]\n"
    with pytest.raises(OutOfResources, match="Failed to start workers"):
        await shop.load(source=hog, initial_workers=workers)
    assert len(shop.processes()) == 1
    await shop.load("small")
    assert await shop.ask("hello", "small") == "hello"


async def test_loads_at_once_share_what_is_left(make_shop: MakeShop) -> None:
    """Two that fit one by one, but not both: one of them is refused, whichever comes last."""
    shop = await make_shop(memory_limit_bytes=150 * 1024 * 1024, loads_max=2)
    big = HANDLER + "BIG = os.urandom(1024 * 1024) * 90\n"
    loads = (shop.load(name, source=big) for name in ("a", "b"))
    outcomes = await asyncio.gather(*loads, return_exceptions=True)
    assert sum(isinstance(outcome, OutOfResources) for outcome in outcomes) == 1
    assert len(shop.processes()) == 1 + 1


async def test_nothing_is_started_when_nothing_is_left(make_shop: MakeShop) -> None:
    """507 at once."""
    shop = await make_shop(memory_limit_bytes=1)
    with pytest.raises(OutOfResources, match="no memory is left"):
        await shop.load()
    assert shop.notes.loads == []

"""Requests that go to their worker together, with a real worker."""

from __future__ import annotations

import asyncio
import json
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from modelplex.instance.processes.batches import Batches
from modelplex.workers.errors import NotBegun, TimedOut, WorkerDied
from modelplex.workers.image import ImageSpec
from modelplex.workers.model import ModelSpec
from modelplex.workers.pool import Pool
from modelplex.workers.worker import Answer, Invocation, Worker

# Answers each request with its own body and the size of the batch; "slow" ones take their time.
HANDLER = """
    import os, time

    def handle(data, context):
        if data is None:
            return None
        bodies = [bytes(each["body"]).decode() for each in data]
        if "slow" in bodies:
            time.sleep(0.2)
        if "die" in bodies:
            os._exit(3)
        if "hang" in bodies:
            time.sleep(60)
        return [{"body": body[:10], "batch": len(bodies)} for body in bodies]
"""


@pytest.fixture
async def worker(tmp_path: Path) -> AsyncIterator[Worker]:
    """A worker of the handler above."""
    (tmp_path / "h.py").write_text(textwrap.dedent(HANDLER))
    image = ImageSpec(tmp_path, Path(sys.executable), "h.py:handle")
    pool = Pool(image, {}, lambda *_: None)
    await pool.start()
    (tmp_path / "model").mkdir()
    yield await pool.load(ModelSpec("m", tmp_path / "model"), 30.0)
    await pool.close()


def ask(
    batches: Batches, worker: Worker, body: str, timeout_s: float = 30.0
) -> asyncio.Future[Answer]:
    """One request, under way."""
    asked: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def done(outcome: Answer | WorkerDied) -> None:
        if isinstance(outcome, WorkerDied):
            asked.set_exception(outcome)
        else:
            asked.set_result(outcome)

    batches.submit(worker, Invocation([], body.encode()), timeout_s, done)
    return asked


def read(answers: list[Answer]) -> list[tuple[str, int]]:
    """Body and size of the batch of each answer."""
    documents = [json.loads(bytes(each.body)) for each in answers]
    return [(each["body"], each["batch"]) for each in documents]


async def test_those_that_wait_go_together(worker: Worker) -> None:
    """The first goes at once; what comes meanwhile is one batch, as far as it may be."""
    batches = Batches(3, 1000)
    asked = [ask(batches, worker, body) for body in ("slow", "a", "b", "c", "d")]
    answers = read(await asyncio.gather(*asked))
    assert answers == [("slow", 1), ("a", 3), ("b", 3), ("c", 3), ("d", 1)]
    assert read([await ask(batches, worker, "alone")]) == [("alone", 1)]


async def test_a_batch_has_a_limit_of_bytes(worker: Worker) -> None:
    """A body above the limit goes alone, and is not left waiting."""
    batches = Batches(10, 100)
    asked = [ask(batches, worker, body) for body in ("slow", "x" * 90, "y" * 20, "z" * 200)]
    assert [size for _, size in read(await asyncio.gather(*asked))] == [1, 1, 1, 1]


async def test_who_has_gone_is_left_out(worker: Worker) -> None:
    """A client that went away while it waited costs the handler nothing."""
    batches, answers = Batches(3, 1000), []
    slow = batches.submit(worker, Invocation([], b"slow"), 30.0, answers.append)
    gone = batches.submit(worker, Invocation([], b"a"), 30.0, answers.append)
    last = ask(batches, worker, "b")
    assert not batches.withdraw(worker, slow)  # it is under way
    assert batches.withdraw(worker, gone)
    assert read([await last]) == [("b", 1)]
    assert len(answers) == 1


@pytest.mark.parametrize(("body", "error"), [("die", WorkerDied), ("hang", TimedOut)])
async def test_a_death_is_told_apart(worker: Worker, body: str, error: type[Exception]) -> None:
    """Those whose batch was under way hear how it ended, those behind it that nobody saw them."""
    batches = Batches(2, 1000)
    limit_s = 0.5 if body == "hang" else 60.0  # of its batch
    limits_s = {"slow": 60.0, body: limit_s, "a": limit_s, "b": 60.0}
    asked = [ask(batches, worker, *each) for each in limits_s.items()]
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(results[0], Answer)
    assert [type(each) for each in results[1:]] == [error, error, NotBegun]

"""Templates: models that are loaded once and forked into workers."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from modelplex.workers.errors import LoadFailed, OutOfMemory, WorkerDied
from modelplex.workers.limits import PoolLimits
from modelplex.workers.process import private_bytes

MIB = 1024 * 1024
WEIGHTS = """
import os, random, signal, sys, time
STATE = {}
def handle(data, context):
    if data is None:
        STATE["loads"] = STATE.get("loads", 0) + 1
        STATE["weights"] = os.urandom(1024) * 50 * 1024
        STATE["pid"] = os.getpid()
        return None
    scope = {**globals(), "context": context, "answer": [STATE["weights"][:8]]}
    exec(bytes(data[0]["body"]).decode(), scope)
    return scope["answer"]
"""
THREADED = """
import threading
def handle(data, context):
    if data is None:
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        return None
    return [b"ok"]
"""


@pytest.fixture
async def stage(make_stage):
    """A pool whose models have 50 MB of weights, and run the request's body as Python."""
    return await make_stage(WEIGHTS)


async def test_workers_share_the_templates_weights(stage, tools):
    """Four workers answer from one load; each has little of its own, the template has the model."""
    template = await stage.load_template()
    assert (template.threads, template.forkable) == (1, True)
    workers = await asyncio.gather(*(template.fork(30) for _ in range(4)))
    code = b"answer = [str([STATE['pid'], STATE['loads'], sum(STATE['weights'][::4096])])]"
    bodies = [bytes((await tools.ask(worker, code)).body) for worker in workers]
    assert len(set(bodies)) == 1
    assert bodies[0].startswith(b"[%d, 1, " % template.pid)
    assert len({worker.pid for worker in workers}) == 4
    assert all(worker.memory_bytes() < 10 * MIB for worker in workers)
    assert 50 * MIB < template.memory_bytes() < 100 * MIB
    assert private_bytes(template.pid) < 25 * MIB  # the weights are not its own alone any more


async def test_a_forked_worker_is_a_whole_worker(stage, tools):
    """Its own session, group, output, random numbers, signals and place for the OOM killer."""
    template = await stage.load_template()
    one, two = await template.fork(30), await template.fork(30)
    code = b"""
print("from", os.getpid())
score = int(open("/proc/self/oom_score_adj").read())
own = os.getsid(0) == os.getpgrp() == os.getpid() == int(os.environ["MODELPLEX_WORKER"])
deaf = signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
answer = [f"{own} {deaf} {score} {os.getcwd()} {random.random()}"]
"""
    first, second = [(await tools.ask(w, code)).body.decode() for w in (one, two)]
    *facts, number = first.split()
    assert facts == ["True", "False", "500", str(stage.folders["m"])]
    assert second.split()[-1] != number
    printed = {f"from {worker.pid}" for worker in (one, two)}
    await tools.eventually(lambda: printed <= set(stage.printed()))


async def test_a_dead_template_hurts_no_worker(stage, tools):
    """Workers answer on and are reaped by the host; only forking is over."""
    template = await stage.load_template()
    workers = [await template.fork(30) for _ in range(2)]
    os.kill(template.pid, signal.SIGKILL)
    await template.exited
    assert template.memory_bytes() == 0
    with pytest.raises(LoadFailed, match="the template of the model ended: killed by SIGKILL"):
        await template.fork(30)
    for worker in workers:
        assert len((await tools.ask(worker)).body) == 8
    with pytest.raises(WorkerDied, match="exit code 7"):
        await tools.ask(workers[0], b"os._exit(7)")
    assert await workers[1].unload() > 0
    assert str(workers[1].exited.result()) == "killed: unloaded"


async def test_a_forked_workers_end_is_told(stage, tools):
    """While the template lives it is the one that reaps."""
    template = await stage.load_template()
    worker = await template.fork(30)
    with pytest.raises(WorkerDied, match="exit code 3"):
        await tools.ask(worker, b"sys.exit(3)")
    assert len((await tools.ask(await template.fork(30))).body) == 8


async def test_the_zygote_may_end(stage, tools):
    """A template forks on without it."""
    template = await stage.load_template()
    zygote = stage.pool.zygote_pid
    os.kill(zygote, signal.SIGKILL)
    await tools.eventually(lambda: stage.pool.zygote_pid not in {zygote, None})
    assert len((await tools.ask(await template.fork(30))).body) == 8


async def test_a_template_may_have_closed_its_output(make_stage, tools):
    """Forking does not depend on what a handler left of it."""
    source = """
        import sys
        def handle(data, context):
            sys.stdout.close(); sys.stderr = None
            return [b"ok"]
        """
    template = await (await make_stage(source)).load_template()
    assert (await tools.ask(await template.fork(30))).body == b"ok"


async def test_a_template_with_threads_is_not_forked(make_stage, tools):
    """It says so, and refuses."""
    stage = await make_stage(THREADED)
    template = await stage.load_template()
    assert (template.threads, template.forkable) == (2, False)
    with pytest.raises(LoadFailed, match="2 threads"):
        await template.fork(30)
    assert (await tools.ask(await stage.load())).body == b"ok"


async def test_a_stopped_template_is_given_up(stage):
    """`fork` has a limit."""
    template = await stage.load_template()
    os.kill(template.pid, signal.SIGSTOP)
    with pytest.raises(LoadFailed, match=r"no worker was forked within 0\.2 s"):
        await template.fork(0.2)
    await template.kill("given up")
    assert str(template.exited.result()) == "killed: given up"


async def test_a_template_that_cannot_load(make_stage):
    """Fails as a worker does, for memory and otherwise."""
    stage = await make_stage(WEIGHTS, limits=PoolLimits(memory_slack_bytes=16 * MIB))
    with pytest.raises(OutOfMemory):
        await stage.load_template("small", limit_bytes=1)
    stage.model(
        "bad", {"own.py": "1 / 0", "MAR-INF/MANIFEST.json": '{"model": {"handler": "own"}}'}
    )
    with pytest.raises(LoadFailed, match="ZeroDivisionError"):
        await stage.load_template("bad")


async def test_the_memory_limit_is_inherited(make_stage, tools):
    """A forked worker may allocate as much as its template could."""
    stage = await make_stage(WEIGHTS, limits=PoolLimits(memory_slack_bytes=16 * MIB))
    template = await stage.load_template(limit_bytes=150 * MIB)
    worker = await template.fork(30)
    assert (await tools.ask(worker, b"bytearray(400 * 2**20)")).status == 507
    assert (await tools.ask(worker, b"bytearray(40 * 2**20)")).status == 200


async def test_close_ends_templates_and_their_workers(stage, tools):
    """Whether they were told of or are hung."""
    template = await stage.load_template()
    worker = await template.fork(30)
    asking = asyncio.ensure_future(tools.ask(worker, b"while True: pass"))
    await asyncio.sleep(0)
    await stage.pool.close()
    assert template.exited.done()
    assert worker.exited.done()
    with pytest.raises(WorkerDied, match="pool closed"):
        await asking


async def test_nothing_is_left_after_many_cycles(stage, tools):
    """Templates come and go with their workers, in either order, and leave no descriptor."""

    async def cycle(template_first: bool) -> None:
        template = await stage.load_template()
        workers = [await template.fork(30) for _ in range(2)]
        every = [template, *workers] if template_first else [*workers, template]
        for process in every:
            await process.unload()
            assert process.memory_bytes() == 0

    await cycle(True)
    before = len(os.listdir("/proc/self/fd"))
    for turn in range(10):
        await cycle(turn % 2 == 0)
    assert len(os.listdir("/proc/self/fd")) == before
    mark = f"MODELPLEX_TEST={stage.environment['MODELPLEX_TEST']}"
    assert tools.living(mark) == [stage.pool.zygote_pid]

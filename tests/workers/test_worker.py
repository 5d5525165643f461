"""Workers: what becomes of requests, whatever a handler does."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from modelplex.workers.errors import TimedOut, WorkerDied
from modelplex.workers.limits import PoolLimits

RUN = """
import ctypes, os, signal, sys, threading, time
def handle(data, context):
    if data is None:
        return None
    scope = {**globals(), "context": context, "data": data, "answer": [b"ok"]}
    exec(bytes(data[0]["body"]).decode(), scope)
    return scope["answer"]
"""


@pytest.fixture
async def stage(make_stage):
    """A pool whose models run the request's body as Python."""
    return await make_stage(RUN)


@pytest.fixture
async def worker(stage):
    """A model of it."""
    return await stage.load()


@pytest.mark.parametrize(
    ("code", "status", "body"),
    [
        ("answer = ['text']", 200, b"text"),
        ("answer = [bytearray(b'bytes')]", 200, b"bytes"),
        ("answer = [{'a': [1]}]", 200, b'{\n  "a": [\n    1\n  ]\n}'),
        ("raise ValueError('not an image')", 500, b"ValueError: not an image"),
        ("raise KeyboardInterrupt", 500, b"KeyboardInterrupt: "),
        ("raise MemoryError", 507, b"Out of resources"),
        ("raise RuntimeError('DefaultCPUAllocator: can\\'t allocate memory')", 507, None),
        ("answer = bytearray(10**15)", 507, b"Out of resources"),
        (
            "from mms.service import PredictionException as E; raise E('bad pixel', 422)",
            422,
            b"bad pixel",
        ),
        ("answer = 'no list'", 503, b"Invalid model predict output"),
        ("answer = []", 503, b"number of batch response mismatched"),
        ("answer = [1, 2]", 503, b"number of batch response mismatched"),
        ("answer = [object()]", 503, b"Unsupported model output data type."),
        ("context.set_response_status(418, 'teapot')", 418, b"ok"),
        ("context.set_response_status('odd')", 500, None),
        ("answer = [b'x' * 7_000_000]", 500, None),
        ("context.set_response_header(0, 'x', 'y' * 2_000_000)", 500, None),
        ("sys.stdout.close(); sys.stderr.close(); raise ValueError('x')", 500, b"ValueError: x"),
    ],
)
async def test_every_outcome_is_an_answer(worker, tools, code, status, body):
    """And the worker goes on."""
    answer = await tools.ask(worker, code.encode())
    assert answer.status == status
    assert body is None or answer.body == body
    assert (await tools.ask(worker, b"")).body == b"ok"


async def test_headers_go_both_ways(worker, tools):
    """Request headers in any case; response headers as set, unable to smuggle a line."""
    code = b"""
context.set_response_content_type(0, context.get_request_header(0, "Content-Type"))
context.set_response_header(0, "x-id", context.get_request_id())
context.set_response_header(0, "x-evil", "a\\r\\nset-cookie: b")
"""
    answer = await tools.ask(worker, code, content_type="image/jpeg", request_id=b"r-1")
    assert answer.headers == [
        (b"content-type", b"image/jpeg"),
        (b"x-id", b"r-1"),
        (b"x-evil", b"a set-cookie: b"),
    ]


@pytest.mark.parametrize("size", [0, 1, 4096, 8192, 65536, 65537, 1_000_000, 6_291_456])
async def test_bodies_of_all_sizes_come_back(make_stage, tools, size):
    """Small ones in one read, large ones straight into their place."""
    worker = await (await make_stage()).load()
    body = os.urandom(size)
    for _ in range(2):
        assert (await tools.ask(worker, body)).body == body


async def test_a_body_above_the_limit_is_refused(worker, tools):
    """Before it is sent."""
    with pytest.raises(ValueError, match="at most 6291456 are allowed"):
        await tools.ask(worker, bytes(6_291_457))
    assert (await tools.ask(worker, b"")).body == b"ok"


@pytest.mark.parametrize(
    ("code", "how"),
    [
        ("sys.exit(3)", "exit code 3"),
        ("sys.exit('done for today')", "exit code 1"),
        ("os._exit(5)", "exit code 5"),
        ("ctypes.string_at(0)", "killed by SIGSEGV"),
        ("os.abort()", "killed by SIGABRT"),
        ("os.kill(os.getpid(), signal.SIGKILL)", r"killed by SIGKILL \(out of memory\?\)"),
        ("os.closerange(3, 100); time.sleep(600)", "it closed its connection"),
    ],
)
async def test_the_end_of_the_process_is_told(stage, worker, tools, code, how):
    """The request fails with how it ended, later ones too, and another model does not notice."""
    other = await stage.load("other")
    with pytest.raises(WorkerDied, match=how):
        await tools.ask(worker, code.encode())
    with pytest.raises(WorkerDied, match=how):
        await tools.ask(worker, b"")
    assert worker.exited.done()
    assert worker.memory_bytes() == 0
    assert (await tools.ask(other, b"")).body == b"ok"


async def test_a_crash_leaves_its_place_in_the_log(stage, worker, tools):
    """faulthandler writes the Python stack of a segmentation fault."""
    with pytest.raises(WorkerDied):
        await tools.ask(worker, b"ctypes.string_at(0)")
    assert any("Segmentation fault" in line for line in stage.printed())


@pytest.mark.parametrize(
    "code",
    [
        "while True: pass",
        "time.sleep(600)",
        "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())\nwhile True: pass",
        "ctypes.CDLL(None).sleep(600)",
    ],
)
async def test_a_handler_that_hangs_is_killed(worker, tools, code):
    """TimedOut at the request's limit, however it hangs."""
    with pytest.raises(TimedOut, match=r"longer than 0\.3 s"):
        await tools.ask(worker, code.encode(), timeout_s=0.3)
    status = await asyncio.wait_for(worker.exited, 30)
    assert "longer than 0.3 s" in str(status)
    with pytest.raises(WorkerDied):
        await tools.ask(worker, b"")


async def test_a_hung_handler_writes_where_it_hangs(stage, worker, tools):
    """The model's log has the stack."""
    with pytest.raises(TimedOut):
        await tools.ask(worker, b"time.sleep(600)", timeout_s=0.3)
    await worker.exited
    assert any("in handle" in line for line in stage.printed())


async def test_a_client_that_leaves_does_not_disturb(worker, tools):
    """Its answer is dropped; the next request waits for its turn and gets its own."""
    leaving = asyncio.ensure_future(tools.ask(worker, b"time.sleep(0.3); answer = ['late']"))
    await asyncio.sleep(0.05)
    leaving.cancel()
    waiting = [tools.ask(worker, f"answer = ['{n}']".encode()) for n in range(3)]
    answers = await asyncio.gather(*waiting)
    assert sorted(answer.body for answer in answers) == [b"0", b"1", b"2"]


async def test_an_abandoned_request_still_has_its_limit(worker, tools):
    """A hung handler is killed even when nobody waits for its answer any more."""
    leaving = asyncio.ensure_future(tools.ask(worker, b"time.sleep(600)", timeout_s=0.3))
    await asyncio.sleep(0.05)
    leaving.cancel()
    with pytest.raises(WorkerDied, match=r"longer than 0\.3 s"):
        await tools.ask(worker, b"")


async def test_an_answer_before_death_is_kept(worker, tools):
    """A handler that answers and then dies has answered."""
    code = b"threading.Timer(0.0, lambda: (time.sleep(0.05), os._exit(0))).start()"
    assert (await tools.ask(worker, code)).body == b"ok"
    assert str(await asyncio.wait_for(worker.exited, 30)) == "exit code 0"


async def test_unload_ends_a_handler_that_ignores_sigterm(make_stage, tools):
    """SIGKILL after the limit, and the bytes it had are returned."""
    stage = await make_stage(RUN, limits=PoolLimits(unload_timeout_s=0.2))
    worker = await stage.load()
    await tools.ask(worker, b"signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    assert await worker.unload() > 0
    assert str(worker.exited.result()) == "killed: unloaded"


@pytest.mark.parametrize(
    "code",
    [
        "import subprocess; p = subprocess.Popen(['sleep', '600'])",
        "import subprocess; p = subprocess.Popen(['sleep', '600'], start_new_session=True)",
        "p = type('P', (), {})(); p.pid = os.fork()\nif not p.pid: time.sleep(600)",
    ],
)
async def test_what_a_handler_starts_ends_with_it(worker, tools, code):
    """Its children, in its group or in a session of their own."""
    child = int((await tools.ask(worker, f"{code}\nanswer = [str(p.pid)]".encode())).body)
    os.kill(child, 0)
    await worker.unload()
    await tools.eventually(lambda: not alive(child))


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_output_comes_with_the_models_name(stage, tools):
    """print, logging, and raw writes, in order; all of it before the death of a worker is told."""
    one, two = await stage.load("one"), await stage.load("two")
    code = b"""
import logging
print("printed")
logging.getLogger("x").info("logged")
os.write(2, b"written\\n")
os.write(1, b"without an end")
os._exit(0)
"""
    await tools.ask(two, b"print('other')")
    with pytest.raises(WorkerDied):
        await tools.ask(one, code)
    assert stage.printed("one") == ["printed", "logged", "written", "without an end"]
    await tools.eventually(lambda: stage.printed("two") == ["other"])


async def test_metrics_are_written_as_by_multi_model_server(stage, worker, tools):
    """One line per metric after the request."""
    code = b"context.metrics.add_counter('Hits', 2); context.metrics.add_counter('Hits', 3)"
    await tools.ask(worker, code, request_id=b"r-7")
    await tools.eventually(stage.printed)
    (line,) = stage.printed()
    assert line.startswith("[METRICS]Hits.Count:5|#ModelName:m,Level:Model|#hostname:")
    assert line.endswith(",r-7")


async def test_signals_of_the_host_do_not_reach_workers(worker, tools):
    """A worker leads its own session, so Ctrl-C in the terminal is not for it."""
    code = b"answer = [[os.getsid(0) == os.getpid(), os.getpgrp() == os.getpid()]]"
    assert (await tools.ask(worker, code)).body.split() == [b"[", b"true,", b"true", b"]"]


async def test_workers_do_not_share_random_numbers(stage, tools):
    """Each seeds its generators anew after the fork."""
    workers = [await stage.load(name) for name in ("a", "b")]
    code = b"import random; answer = [str(random.random())]"
    first, second = [(await tools.ask(worker, code)).body for worker in workers]
    assert first != second


async def test_a_worker_killed_from_outside_is_noticed_when_idle(worker):
    """`exited` resolves whoever killed it."""
    os.kill(worker.pid, signal.SIGKILL)
    status = await asyncio.wait_for(worker.exited, 30)
    assert status.out_of_memory
    assert "gone" in repr(worker)

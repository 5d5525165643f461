"""Workers that hold many models: kept apart in one process, and what its end costs."""

from __future__ import annotations

import asyncio
import json
import os
import signal

import pytest

from modelplex.workers.errors import LoadFailed, NotBegun, OutOfMemory, TimedOut, WorkerDied
from modelplex.workers.limits import PoolLimits
from tests.support.clocks import hurried_clock

MIB = 1024 * 1024
RUN = """
import json, os, signal, subprocess, sys, time
import beside

class Service:
    def initialize(self, context):
        self.context = context
        self.folder = context.system_properties["model_dir"]
        self.kept = None
        exec(open(os.path.join(self.folder, "load.py")).read(), {**globals(), "self": self})

    def handle(self, data, context):
        scope = {**globals(), "self": self, "context": context, "answer": context.model_name}
        exec(bytes(data[0]["body"]).decode(), scope)
        return [scope["answer"]]
"""
COUNT = """
count = 0
def handle(data, context):
    global count
    if data is None:
        return None
    count += 1
    return [str(count)]
"""


@pytest.fixture
async def stage(make_stage):
    """A pool whose models run `load.py` of their folder at load, and the request's body."""
    limits = PoolLimits(unload_timeout_s=30.0)
    return await make_stage(RUN, "model_handler.py", {"beside.py": "seen = []"}, limits=limits)


@pytest.fixture
def load(stage):
    """Loads a model of these files into a shared worker."""

    async def into(shared, name, load="", timeout_s=30.0, limit_bytes=0, **files):
        named = {f"{file}.py": text for file, text in files.items()}
        stage.model(name, {"load.py": load, **named})
        return await shared.load(stage.spec(name, limit_bytes), timeout_s)

    return into


@pytest.fixture
async def shared(stage):
    """A process for many models."""
    return await stage.pool.shared(30.0)


async def test_models_of_one_process_have_their_own_of_everything(shared, load, tools):
    """Handler, globals, helper modules, search path, working directory and context."""
    models = [
        await load(shared, name, "import helper", helper=f"name = {name!r}") for name in ("a", "b")
    ]
    assert models[0].pid == models[1].pid == shared.pid
    assert shared.models == 2
    code = b"""
import helper, pickle
beside.seen.append(helper.name)
assert pickle.loads(pickle.dumps(Service)) is Service
places = [os.path.basename(place) for place in sys.path if "/models/" in place]
answer = [helper.name, beside.seen, os.path.basename(os.getcwd()), places, context.model_name]
"""
    for count in (1, 2):
        for name, model in zip("ab", models, strict=True):
            answer = await tools.ask(model, code)
            assert json.loads(answer.body) == [name, [name] * count, name, [name], name]


async def test_functions_with_globals_can_share(make_stage, tools):
    """However their module is named: each model has it made anew."""
    files = {"counting.py": COUNT, "package/__init__.py": "", "package/counting.py": COUNT}
    stage = await make_stage("", "counting.py", files)
    shared = await stage.pool.shared(30.0)
    for handler in ("", "package.counting:handle"):
        names = (f"{handler}{n}" for n in range(2))
        models = [await shared.load(stage.spec(name, handler=handler), 30.0) for name in names]
        counts = [(await tools.ask(model)).body for model in [*models, models[0]]]
        assert counts == [b"1", b"1", b"2"]


async def test_a_load_that_fails_hurts_no_other(shared, load, tools):
    """Nor does it leave anything behind."""
    failures = {
        "raise ValueError('no weights')": (LoadFailed, "ValueError: no weights"),
        "sys.exit(3)": (LoadFailed, "SystemExit: 3"),
        "raise MemoryError": (OutOfMemory, "Out of resources"),
        "self.kept = bytearray(200 * 2**20)": (OutOfMemory, "Out of resources"),
    }
    first = await load(shared, "first")
    for at, (code, (error, text)) in enumerate(failures.items()):
        with pytest.raises(error, match=text):
            await load(
                shared, f"bad{at}", f"import helper; {code}", limit_bytes=64 * MIB, helper=""
            )
        assert (await tools.ask(first)).body == b"first"
        answer = await tools.ask(
            first, b"answer = 'helper' in sys.modules, self.folder in sys.path"
        )
        assert json.loads(answer.body) == [False, True]
    last = await load(shared, "last", "self.kept = bytearray(60 * 2**20)", limit_bytes=64 * MIB)
    assert (await tools.ask(last)).body == b"last"
    assert shared.models == 2


async def test_every_outcome_of_a_request_is_an_answer(shared, load, tools):
    """And all models go on; a load that is given up is undone, as the process has to live."""
    model, other = await load(shared, "m"), await load(shared, "other")
    outcomes = {
        b"raise ValueError('x')": (500, "raised"),
        b"raise MemoryError": (507, "memory"),
        b"sys.exit(1)": (500, "raised"),
        b"answer = b'x' * 7_000_000": (500, "invalid"),
    }
    for code, expected in outcomes.items():
        answer = await tools.ask(model, code)
        assert (answer.status, answer.failure) == expected
    assert (await tools.ask(model)).body == b"m"
    assert (await tools.ask(other)).body == b"other"
    given_up = asyncio.ensure_future(load(shared, "slow", "time.sleep(0.2)"))
    await tools.eventually(lambda: shared.busy)
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    assert (await tools.ask(other)).body == b"other"
    await tools.eventually(lambda: shared.models == 2)


async def test_what_is_printed_is_the_models_own(stage, shared, load, tools):
    """Through Python, past it, by processes, without the end of a line, and at the end of all."""
    models = [await load(shared, name, f"print('loading {name}')") for name in "ab"]
    code = """
print('python')
os.write(2, b'descriptor\\n')
subprocess.run(['echo', 'process'])
sys.stdout.write('partial')
"""
    for model in models:
        await tools.ask(model, code.encode())
    with pytest.raises(WorkerDied):
        await tools.ask(models[0], b"import ctypes; ctypes.string_at(0)")
    said = ["python", "descriptor", "process", "partial"]
    assert stage.printed("b") == ["loading b", *said]
    assert stage.printed("a")[:5] == ["loading a", *said]
    assert any("Segmentation fault" in line for line in stage.printed("a"))


async def test_what_a_model_took_comes_back(shared, load, tools):
    """Its memory at once if it is much; its modules, and its number for the next one."""
    first = await load(shared, "first")
    large = await load(
        shared, "large", "import helper; self.kept = bytearray(50 * 2**20)", helper=""
    )
    code = b"answer = len([m for m in sys.modules if m == 'helper']), len(sys.path_importer_cache)"
    cached = json.loads((await tools.ask(large, b"self.kept[:] = bytes(50 * 2**20);" + code)).body)
    before = shared.private_bytes()
    assert large.memory_bytes() >= 25 * MIB
    assert await large.unload() >= 49 * MIB
    assert before - shared.private_bytes() >= 49 * MIB
    assert await large.unload() == large.memory_bytes() == 0
    assert str(large.exited.result()) == "killed: unloaded"
    with pytest.raises(NotBegun):
        await tools.ask(large)
    assert cached[0] == 1
    assert json.loads((await tools.ask(first, code)).body)[0] == 0
    again = await load(shared, "again")
    assert again.number == large.number
    assert (await tools.ask(again)).body == b"again"


async def test_unloaded_models_leave_nothing_that_grows(shared, load, tools):
    """Handlers and modules refer to themselves: they are found as garbage in time."""
    keeper = await load(shared, "keeper")
    count = b"import gc; gc.collect(); answer = len(gc.get_objects())"
    objects = []
    for cycle in range(3):
        models = [
            await load(shared, f"m{cycle}-{n}", "import helper", helper="class Own: pass")
            for n in range(5)
        ]
        for model in models:
            await model.unload()
        objects.append(int((await tools.ask(keeper, count)).body))
    assert objects[2] - objects[1] < 20


async def test_the_end_of_the_process_is_the_end_of_its_models(stage, shared, load, tools):
    """What is under way fails; requests and loads behind it were never begun."""
    models = [await load(shared, name) for name in "abc"]
    requests = [
        asyncio.ensure_future(tools.ask(model, b"os._exit(5)" if model is models[0] else b""))
        for model in models
    ]
    outcomes = await asyncio.gather(*requests, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [WorkerDied, NotBegun, NotBegun]
    assert str(outcomes[0]) == "the worker ended: exit code 5"
    statuses = [await model.exited for model in models]
    assert {status.code for status in statuses} == {5}
    assert shared.models == shared.private_bytes() == models[0].memory_bytes() == 0
    with pytest.raises(NotBegun):
        await load(shared, "late")
    another = await stage.pool.shared(30.0)
    code = "os.kill(os.getpid(), signal.SIGKILL)"
    loads = [asyncio.ensure_future(load(another, *rest)) for rest in (("dying", code), ("next",))]
    outcomes = await asyncio.gather(*loads, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [OutOfMemory, NotBegun]


async def test_a_hanging_handler_costs_the_process_its_life(stage, shared, load, tools, tmp_path):
    """The timeout counts from when its turn has come."""
    model, other = await load(shared, "m"), await load(shared, "other")
    gate = tools.gate(tmp_path)
    with hurried_clock() as forward:
        slow = asyncio.ensure_future(tools.ask(other, gate.code, timeout_s=600.0))
        await gate.reached()
        behind = asyncio.ensure_future(tools.ask(model, timeout_s=60.0))
        await asyncio.sleep(0)
        forward(100.0)
        await gate.open()
        assert (await slow).status == (await behind).status == 200
    with pytest.raises(TimedOut, match=r"longer than 0\.2 s"):
        await tools.ask(model, b"time.sleep(60)", timeout_s=0.2)
    assert "longer than 0.2 s" in str(await other.exited)
    another = await stage.pool.shared(30.0)
    with pytest.raises(LoadFailed, match=r"did not load within 0\.2 s"):
        await load(another, "hanging", "time.sleep(60)", timeout_s=0.2)


async def test_the_end_takes_all_along(stage, shared, load, tools):
    """Told as unloaded, not as a crash; a killed zygote changes nothing about it."""
    os.kill(stage.pool.zygote_pid, signal.SIGKILL)
    model = await load(shared, "m")
    assert (await tools.ask(model)).body == b"m"
    await shared.end()
    assert str(model.exited.result()) == "killed: unloaded"
    assert shared.private_bytes() == 0


async def test_what_models_import_is_learned_for_the_next_worker(make_stage, tools):
    """As from a model that lives alone."""
    limits = PoolLimits(learn_delay_s=0, learn_modules_min=1)
    stage = await make_stage(RUN, "model_handler.py", {"beside.py": ""}, limits=limits)
    zygote = stage.pool.zygote_pid
    shared = await stage.pool.shared(30.0)
    stage.model("m", {"load.py": "import colorsys"})
    await shared.load(stage.spec("m"), 30.0)
    await tools.eventually(lambda: stage.pool.zygote_pid not in {zygote, None})

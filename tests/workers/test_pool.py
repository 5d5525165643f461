"""Pools of workers, with real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from modelplex.workers.errors import LoadFailed, OutOfMemory, StartFailed
from modelplex.workers.image import ImageSpec
from modelplex.workers.limits import PoolLimits
from modelplex.workers.pool import Pool

MIB = 1024 * 1024


async def test_a_model_is_loaded_and_answers(make_stage, tools):
    """A function handler is called with None at load, and then with each request."""
    stage = await make_stage()
    worker = await stage.load()
    answer = await tools.ask(worker, b"hello")
    assert (answer.status, answer.body) == (200, b"hello")


def pythons() -> list[str]:
    """Other interpreters beside this one, from the oldest that is supported."""
    beside = Path(sys.base_prefix).parent
    names = [f"python3.{minor}" for minor in range(8, 16) if minor != sys.version_info.minor]
    found = [path for name in names for path in sorted(beside.glob(f"*/bin/{name}"))[:1]]
    return [str(path) for path in found] or [sys.executable]


@pytest.mark.parametrize("python", pythons())
async def test_images_may_have_other_pythons(make_stage, tools, python):
    """Every version from 3.8 on that this machine has beside its own."""
    source = """
        class Service:
            def initialize(self, context): context.metrics.add_counter("Loads", 1)
            def handle(self, data, context): return [data[0]["body"].upper()]
        """
    stage = await make_stage(source, "model_handler.py", python=python)
    worker = await stage.load()
    assert (await tools.ask(worker, b"a" * 100_000)).body == b"A" * 100_000
    assert stage.printed()[0].startswith("[METRICS]Loads.Count:1")


async def test_many_models_load_at_once(make_stage, tools):
    """Concurrent loads share one zygote, and each gets its own process."""
    stage = await make_stage()
    workers = await asyncio.gather(*(stage.load(f"m{n}") for n in range(10)))
    assert len({worker.pid for worker in workers}) == 10
    answers = await asyncio.gather(*(tools.ask(w, str(n).encode()) for n, w in enumerate(workers)))
    assert [answer.body for answer in answers] == [str(n).encode() for n in range(10)]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import no_such_module_here", "No module named 'no_such_module_here'"),
        ("def handle(:", "SyntaxError"),
        ("raise RuntimeError('broken on purpose')", "RuntimeError: broken on purpose"),
        ("import os; os._exit(3)", "ended its process"),
        ("import sys; sys.exit('no licence')", "SystemExit: no licence"),
    ],
)
async def test_an_image_that_cannot_be_imported_does_not_start(make_stage, source, reason):
    """StartFailed carries the handler's own error."""
    stage = await make_stage(source, start=False)
    with pytest.raises(StartFailed) as caught:
        await stage.pool.start()
    assert reason in str(caught.value)


async def test_an_image_without_its_python_does_not_start(make_stage, tmp_path):
    """A missing interpreter is named."""
    image = ImageSpec(tmp_path, tmp_path / "no-python", "model_handler.py")
    with pytest.raises(StartFailed, match="no-python"):
        await Pool(image, {}, lambda *_: None).start()


async def test_an_image_that_hangs_at_import_does_not_start(make_stage):
    """There is a limit on how long a start may take."""
    limits = PoolLimits(start_timeout_s=1.0)
    stage = await make_stage("while True: pass", start=False, limits=limits)
    with pytest.raises(StartFailed, match="not ready after 1 s"):
        await stage.pool.start()


async def test_a_preload_that_fails_is_reported_and_not_fatal(make_stage, tools):
    """Preloading is an optimisation: its failure is a line in the image's log."""
    stage = await make_stage(preload=("decimal", "no_such_module_here"))
    assert (await tools.ask(await stage.load(), b"x")).body == b"x"
    await tools.eventually(lambda: any("no_such_module_here" in s for s in stage.printed("")))


async def test_a_load_that_raises_fails_with_its_error(make_stage):
    """LoadFailed names the exception; the traceback is in the model's log."""
    stage = await make_stage("def handle(data, context): raise KeyError('weights')")
    with pytest.raises(LoadFailed, match="KeyError: 'weights'") as caught:
        await stage.load()
    assert caught.value.status == 500
    assert any("Traceback" in line for line in stage.printed())


@pytest.mark.parametrize("style", ["function", "class"])
async def test_a_load_without_memory_says_so(make_stage, style):
    """MemoryError at load is OutOfMemory in both styles; Multi Model Server loses it in one."""
    sources = {
        "function": "def handle(data, context): raise MemoryError",
        "class": """
            class Service:
                def initialize(self, context): raise MemoryError
                def handle(self, data, context): return [b""]
            """,
    }
    stage = await make_stage()
    stage.model("m", {"own.py": sources[style], "MAR-INF/MANIFEST.json": MANIFEST})
    with pytest.raises(OutOfMemory) as caught:
        await stage.load()
    assert caught.value.status == 507


MANIFEST = '{"model": {"handler": "own.py"}}'
GREEDY = """
kept = []
def handle(data, context):
    mib = int(open("mib").read()) if data is None else int(data[0]["body"])
    kept.append(bytearray(mib * 1024 * 1024))
    return [str(len(kept))]
"""


async def test_memory_is_limited_at_load_and_later(make_stage, tools):
    """Beyond the limit an allocation fails: OutOfMemory at load, 507 at predict."""
    stage = await make_stage(GREEDY, limits=PoolLimits(memory_slack_bytes=16 * MIB))
    for name, mib in (("small", 20), ("large", 200)):
        stage.model(name, {"mib": str(mib)})
    with pytest.raises(OutOfMemory):
        await stage.load("large", limit_bytes=100 * MIB)
    worker = await stage.load("small", limit_bytes=100 * MIB)
    assert (await tools.ask(worker, b"300")).status == 507
    assert (await tools.ask(worker, b"20")).body == b"2"


async def test_predicting_may_take_more_than_loading(make_stage, tools):
    """The limit of the load is for the load; afterwards `memory_bytes_max` is the limit."""
    limits = PoolLimits(memory_slack_bytes=16 * MIB, memory_bytes_max=400 * MIB)
    stage = await make_stage(GREEDY, limits=limits)
    for name, mib in (("small", 20), ("large", 200)):
        stage.model(name, {"mib": str(mib)})
    with pytest.raises(OutOfMemory):
        await stage.load("large", limit_bytes=100 * MIB)
    worker = await stage.load("small", limit_bytes=100 * MIB)
    assert (await tools.ask(worker, b"300")).body == b"2"
    assert (await tools.ask(worker, b"300")).status == 507


async def test_a_hoard_of_small_objects_is_out_of_memory(make_stage):
    """Even when module globals hold all of it, so that there is nothing left to answer with."""
    source = """
        hoard = []
        def handle(data, context):
            while True:
                hoard.append([object() for _ in range(1000)])
        """
    stage = await make_stage(source, limits=PoolLimits(memory_slack_bytes=16 * MIB))
    with pytest.raises(OutOfMemory):
        await stage.load(limit_bytes=50 * MIB)


async def test_an_abort_for_lack_of_memory_is_out_of_memory(make_stage):
    """C++ code aborts when `new` fails; its last words tell."""
    source = """
        import os
        def handle(data, context):
            os.write(2, b"terminate called after throwing an instance of 'std::bad_alloc'\\n")
            os.abort()
        """
    stage = await make_stage(source)
    with pytest.raises(OutOfMemory):
        await stage.load()


@pytest.mark.parametrize(
    ("source", "how"),
    [
        ("import os\ndef handle(data, context): os._exit(3)", "exit code 3"),
        ("import sys\ndef handle(data, context): sys.exit(4)", "exit code 4"),
        ("import ctypes\ndef handle(data, context): ctypes.string_at(0)", "killed by SIGSEGV"),
    ],
)
async def test_a_load_that_ends_the_process_fails(make_stage, tools, source, how):
    """LoadFailed says how the process ended, and the pool goes on."""
    stage = await make_stage()
    stage.model("bad", {"own.py": source, "MAR-INF/MANIFEST.json": MANIFEST})
    with pytest.raises(LoadFailed, match=how) as caught:
        await stage.load("bad")
    assert not isinstance(caught.value, OutOfMemory)
    assert (await tools.ask(await stage.load("good"), b"x")).body == b"x"


async def test_a_load_that_takes_too_long_is_killed(make_stage, tools):
    """LoadFailed after the timeout, and no process stays."""
    source = """
        def handle(data, context):
            while True: pass
        """
    stage = await make_stage(source)
    with pytest.raises(LoadFailed, match=r"did not load within 0\.5 s"):
        await stage.load(timeout_s=0.5)
    assert "0 workers" in repr(stage.pool)


async def test_a_cancelled_load_leaves_no_process(make_stage, tools):
    """At whichever step it was."""
    stage = await make_stage("import time\ndef handle(data, context): time.sleep(600)")
    for step in range(8):
        stage.model(f"m{step}")
        task = asyncio.ensure_future(stage.load(f"m{step}"))
        await asyncio.sleep(0.002 * step)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    mark = f"MODELPLEX_TEST={stage.environment['MODELPLEX_TEST']}"
    await tools.eventually(lambda: len(tools.living(mark)) == 1)  # the zygote


async def test_models_do_not_see_each_other(make_stage, tools):
    """Globals, modules of one name, working directory, environment and sys.path are per model."""
    own = """
        import os, sys
        import helper
        def handle(data, context):
            if data is None:
                os.environ["LEAK"] = sys.path[0]
                sys.path.append(helper.NAME)
                return None
            os.chdir("/")
            return [[helper.NAME, os.environ["LEAK"], [p for p in sys.path if p in "ab"]]]
        """
    stage = await make_stage()
    for name in ("a", "b"):
        files = {"own.py": own, "helper.py": f"NAME = {name!r}"}
        stage.model(name, {**files, "MAR-INF/MANIFEST.json": MANIFEST})
    workers = [await stage.load(name) for name in ("a", "b")]
    for name, worker in zip("ab", workers, strict=True):
        for _ in range(2):
            body = (await tools.ask(worker)).body.decode()
            assert f'"{name}"' in body
            assert str(stage.folders[name]) in body
            assert f'"{"b" if name == "a" else "a"}"' not in body


async def test_a_worker_starts_in_its_models_folder(make_stage, tools):
    """Sample handlers open files by their bare names."""
    source = """
        def handle(data, context):
            return None if data is None else [open("labels.txt").read()]
        """
    stage = await make_stage(source)
    stage.model("m", {"labels.txt": "cat"})
    assert (await tools.ask(await stage.load())).body == b"cat"
    assert sorted(p.name for p in stage.folders["m"].iterdir()) == ["labels.txt"]


async def test_the_hosts_environment_does_not_leak(make_stage, tools, monkeypatch):
    """A handler sees what it was given and four variables besides."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "do not tell")
    source = """
        import os
        def handle(data, context):
            return None if data is None else [dict(os.environ)]
        """
    stage = await make_stage(source, environment={"OMP_NUM_THREADS": "3", "COLOUR": "red"})
    body = (await tools.ask(await stage.load())).body.decode()
    assert "do not tell" not in body
    assert '"COLOUR": "red"' in body
    assert '"OMP_NUM_THREADS": "3"' in body
    assert '"OPENBLAS_NUM_THREADS": "1"' in body


async def test_the_image_sees_only_its_own_packages(make_stage, tools):
    """The platform's source and the runtime's modules are not importable in an image."""
    source = """
        import importlib.util, sys
        def handle(data, context):
            if data is None: return None
            names = ["frames", "zygote", "context", "modelplex.workers", "modelplex.http"]
            return [[n for n in names if importlib.util.find_spec(n)] + sys.path]
        """
    stage = await make_stage(source)
    body = (await tools.ask(await stage.load())).body.decode()
    assert "frames" not in body
    assert "modelplex.workers" not in body
    assert "modelplex/runtime" not in body


async def test_a_killed_zygote_hurts_no_loaded_model(make_stage, tools):
    """Workers survive the zygote's SIGKILL, are still reaped, and new models load."""
    stage = await make_stage()
    old = await stage.load("old")
    for round_ in range(3):
        zygote = zygote_of(stage.pool)
        os.kill(zygote, signal.SIGKILL)
        new = await stage.load(f"new{round_}")
        assert (await tools.ask(old, b"still here")).body == b"still here"
        assert (await tools.ask(new, b"x")).body == b"x"
        assert zygote_of(stage.pool) != zygote
    os.kill(old.pid, signal.SIGTERM)
    assert str(await old.exited) == "killed by SIGTERM"


async def test_a_stopped_zygote_is_replaced(make_stage, tools):
    """One that does not fork within the limit is killed, and the load succeeds on the next."""
    stage = await make_stage(limits=PoolLimits(fork_timeout_s=1.0))
    os.kill(zygote_of(stage.pool), signal.SIGSTOP)
    assert (await tools.ask(await stage.load(), b"x")).body == b"x"


async def test_loads_during_a_zygotes_death_succeed(make_stage, tools):
    """A load is tried again on the next zygote."""
    stage = await make_stage()
    loads = [asyncio.ensure_future(stage.load(f"m{n}")) for n in range(6)]
    await asyncio.sleep(0.01)
    os.kill(zygote_of(stage.pool), signal.SIGKILL)
    for worker in await asyncio.gather(*loads):
        assert (await tools.ask(worker, b"x")).body == b"x"


def zygote_of(pool: Pool) -> int:
    """The zygote's pid, which a pool shows in its repr."""
    words = repr(pool).split()
    return int(words[words.index("zygote") + 1].rstrip(",")) if "zygote" in words else 0


IMPORTS = """
def handle(data, context):
    import sys
    if data is None:
        before = "xmlrpc.client" in sys.modules
        import xmlrpc.client
        context.before = before
        return None
    return [str(context.before)]
"""


async def test_imports_are_learned(make_stage, tools, tmp_path):
    """What a model imports at load is imported beforehand by the next zygote, and remembered."""
    learned = tmp_path / "learned.json"
    stage = await make_stage(IMPORTS, learned=learned, limits=PoolLimits(learn_delay_s=0.0))
    zygote = zygote_of(stage.pool)
    first = await stage.load("first")
    assert (await tools.ask(first)).body == b"False"
    await tools.eventually(lambda: zygote_of(stage.pool) != zygote)
    assert (await tools.ask(await stage.load("second"))).body == b"True"
    assert (await tools.ask(first)).body == b"False"  # lives on after its zygote left
    assert "xmlrpc.client" in learned.read_text()
    later = await make_stage(IMPORTS, learned=learned)
    assert (await tools.ask(await later.load("third"))).body == b"True"


async def test_a_few_imports_are_not_worth_another_zygote(make_stage, tools, tmp_path):
    """They are remembered for the next start; until then the zygote stays, and its pages shared."""
    learned = tmp_path / "learned.json"
    stage = await make_stage(
        IMPORTS.replace("xmlrpc.client", "this"),
        learned=learned,
        limits=PoolLimits(learn_delay_s=0.0),
    )
    zygote = zygote_of(stage.pool)
    for name in ("first", "second"):
        assert (await tools.ask(await stage.load(name))).body == b"False"
    assert "this" in learned.read_text()
    assert zygote_of(stage.pool) == zygote


async def test_what_the_image_imports_is_there_before_the_first_load(make_stage, tools):
    """The handler's own imports are learned at the start of the zygote."""
    source = "import wave\n" + IMPORTS.replace("xmlrpc.client", "wave")
    stage = await make_stage(source)
    assert (await tools.ask(await stage.load())).body == b"True"


async def test_a_zygote_that_cannot_live_with_what_was_learned_forgets_it(
    make_stage, tools, tmp_path
):
    """A poisonous module costs one failed start, not the image."""
    learned = tmp_path / "learned.json"
    learned.write_text('{"modules": ["antigravity_that_exits"]}')
    poison = tmp_path / "packages"
    tools.write_files(poison, {"antigravity_that_exits.py": "import os; os._exit(9)"})
    stage = await make_stage(learned=learned, environment={"PYTHONPATH": str(poison)})
    assert (await tools.ask(await stage.load(), b"x")).body == b"x"
    assert "antigravity" not in learned.read_text()


def counted() -> tuple[int, int]:
    """Open descriptors and threads of this process."""
    return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()


async def test_nothing_is_left_after_many_cycles(make_stage, tools):
    """100 loads and unloads: no descriptors, threads or processes stay, all memory returns."""
    source = """
        def handle(data, context):
            global weights
            if data is None:
                weights = bytes(range(256)) * 40960
            return [str(len(weights))]
        """
    stage = await make_stage(source)
    assert await (await stage.load("warm-up")).unload() > 10 * MIB
    before = counted()
    stage.model("m")
    for _ in range(100):
        worker = await stage.load()
        await worker.unload()
        assert worker.memory_bytes() == 0
    assert counted() == before
    mark = f"MODELPLEX_TEST={stage.environment['MODELPLEX_TEST']}"
    assert tools.living(mark) == [zygote_of(stage.pool)]
    assert 0 < stage.pool.base_bytes() < 100 * MIB


async def test_a_closed_pool_has_no_processes(make_stage, tools):
    """Not even those of hung models, and loads under way end with an error."""
    source = """
        import time
        def handle(data, context):
            if data is None and context.model_name == "slow":
                time.sleep(600)
            while data: pass
        """
    stage = await make_stage(source)
    hung = await stage.load("hung")
    asking = asyncio.ensure_future(tools.ask(hung))
    loading = asyncio.ensure_future(stage.load("slow"))
    await asyncio.sleep(0.1)
    await stage.pool.close()
    results = await asyncio.gather(asking, loading, return_exceptions=True)
    assert all("pool closed" in str(result) for result in results)
    with pytest.raises(LoadFailed, match="being stopped"):
        await stage.load("late")


PREPARING = """
    import os

    def prepare(model_dir):
        print("preparing", os.getcwd() == model_dir)
        if os.path.exists("bad"):
            raise ValueError("the artifact is bad")
        if os.path.exists("deadly"):
            os._exit(5)
        with open("prepared", "w") as file:
            file.write("yes")

    def handle(data, context):
        return None if data is None else [open("prepared").read()]
    """


async def test_an_image_prepares_artifacts(make_stage, tools):
    """In a process of its own, which ends; what it says goes to the model's log."""
    stage = await make_stage(PREPARING, prepare="model_handler.py:prepare")
    await stage.pool.prepare("m", stage.model("m"), 30.0)
    assert stage.printed() == ["preparing True"]
    worker = await stage.load()
    assert (await tools.ask(worker)).body == b"yes"
    assert len(stage.pool._nursery.living) == 1


@pytest.mark.parametrize(
    ("file", "reason"), [("bad", "ValueError: the artifact is bad"), ("deadly", "exit code 5")]
)
async def test_what_cannot_be_prepared_says_why(make_stage, file, reason):
    """An exception, and a death."""
    stage = await make_stage(PREPARING, prepare="model_handler.py:prepare")
    with pytest.raises(LoadFailed, match=reason):
        await stage.pool.prepare("m", stage.model("m", {file: ""}), 30.0)

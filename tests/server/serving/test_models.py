"""The registry over real processes: what is registered when, and that nothing else is left."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import re
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from modelplex.server.errors import (
    BadRequest,
    Conflict,
    Internal,
    InvalidModel,
    ModelNotFound,
    OutOfResources,
    ServerError,
    TimedOut,
    Unavailable,
)
from modelplex.server.serving.models import Health, Order, Registered, State
from modelplex.workers.errors import StartFailed
from tests.server.conftest import HANDLER, MakeShop, Shop, eventually
from tests.support.models import make_archive

# It loads when the file `go` is in the store.
SLOW = f"""
import os, pathlib, time
STORE = pathlib.Path("..")
(STORE / "loading").touch()
while not (STORE / "go").exists():
    time.sleep(0.01)
{HANDLER}
"""
CYCLES = int(os.environ.get("MODELPLEX_CYCLES", "100"))


async def loading(shop: Shop, **order: Any) -> asyncio.Task[Registered]:
    """A load that is under way until `go`."""
    task = asyncio.create_task(shop.load(source=SLOW, **order))
    await eventually((shop.store / "loading").exists)
    return task


def names(shop: Shop) -> list[str]:
    return [model.name for model in shop.models.page(100, "")[0]]


def nothing_is_left(shop: Shop) -> bool:
    """No model, no process but the zygote, nothing unpacked."""
    work = Path(str(shop.config.work_folder))
    kept = {"image", "environments", "learned.json"}
    unpacked = [path for path in work.rglob("service.py") if path.parts[0] not in kept]
    return not names(shop) and len(shop.processes()) == 1 and not unpacked


def of_model(shop: Shop, name: str) -> set[int]:
    """The processes that have loaded a model, by the names they give themselves."""
    comms = {pid: Path(f"/proc/{pid}/comm").read_text().strip() for pid in shop.processes()}
    return {pid for pid, comm in comms.items() if comm == f"mp:{name}"}


async def test_load_invoke_unload(shop: Shop) -> None:
    """The life of a model; its memory and name are free when `unregister` returns."""
    (shop.store / "m.tar.gz").write_bytes(make_archive({"service.py": HANDLER}))
    before = shop.models.version
    order = Order("m.tar.gz", "m")
    assert await shop.models.register(order) == Registered("m", "scaled")
    model = shop.models.find("m")
    assert (model.state, model.url, model.runtime) == (State.READY, "m.tar.gz", "python")
    assert shop.models.version != before
    assert await shop.ask("hello") == "hello"
    await shop.models.unregister("m")
    assert nothing_is_left(shop)
    assert shop.notes.loads == ["m"]
    with pytest.raises(ModelNotFound, match=r"^Model not found: m$"):
        shop.models.find("m")
    await shop.models.register(order)


async def test_the_manifest_names_the_model(shop: Shop) -> None:
    """Name, version, engine and runtime are the manifest's where the order gives none."""
    folder = shop.make("folder")
    (folder / "MAR-INF").mkdir()
    (folder / "MAR-INF" / "MANIFEST.json").write_text(
        '{"specificationVersion": "1.0", "runtime": "python3", "engine": {"engineName": "E"},'
        ' "model": {"modelName": "named", "modelVersion": "7", "handler": "service.py:handle"}}'
    )
    assert (await shop.models.register(Order("folder"))).name == "named"
    model = shop.models.find("named")
    assert (model.version, model.engine, model.runtime) == ("7", "E", "python3")
    with pytest.raises(Conflict):
        await shop.models.register(Order("folder"))
    assert names(shop) == ["named"]


async def test_a_model_without_workers(shop: Shop) -> None:
    """It is registered, and refuses requests until it is scaled."""
    assert await shop.load(initial_workers=0) == Registered("m", "registered")
    with pytest.raises(Unavailable):
        await shop.ask("hello")
    assert await shop.models.scale("m", 1, None, True) == Registered("m", "scaled")
    assert await shop.ask("hello") == "hello"


async def test_orders_that_cannot_be_carried_out(make_shop: MakeShop) -> None:
    """Each is refused with its reason, and leaves nothing."""
    shop = await make_shop(models_max=1, default_service_handler="")
    shop.make("m")
    refused: list[tuple[Order, type[ServerError], str]] = [
        (Order("m"), InvalidModel, "Model name is not defined."),
        (Order("m", "m"), InvalidModel, "Model handler is not defined"),
        (Order("nowhere", "m"), ModelNotFound, "Model not found in model store"),
        (Order("m", "m", batch_size=0), BadRequest, "batch_size must be 1 or more, not 0"),
        (Order("m", "m", max_batch_delay_s=-1), BadRequest, "max_batch_delay"),
        (Order("m", "m", initial_workers=-1), BadRequest, "initial_workers"),
    ]
    for order, error, text in refused:
        with pytest.raises(error, match=text):
            await shop.models.register(order)
        assert nothing_is_left(shop)
    order = Order("m", "m", handler="service.py:handle")
    await shop.models.register(order)
    with pytest.raises(OutOfResources, match="1 models are registered"):
        await shop.models.register(Order("m", "n", handler="service.py:handle"))
    for least, most in ((2, 1), (-1, None), (1, 1001)):
        with pytest.raises(BadRequest, match="min_worker"):
            await shop.models.scale("m", least, most, True)
    with pytest.raises(ModelNotFound):
        await shop.models.scale("n", 1, None, True)


@pytest.mark.parametrize("name", ["a\nb", "a\0", "\x1b[2J", "\x85", "\u2028", "\ud800", "x" * 1025])
async def test_names_that_cannot_be(make_shop: MakeShop, name: str) -> None:
    """Whether the order, the manifest or the settings give them; a start-up model is not well."""
    shop = await make_shop(start=False, models=((name, "m"),))
    folder = shop.make("m")
    await shop.models.start()
    assert shop.models.health() is Health.UNHEALTHY
    (folder / "MAR-INF").mkdir()
    manifest = {"model": {"modelName": name, "handler": "service.py:handle"}}
    (folder / "MAR-INF" / "MANIFEST.json").write_text(json.dumps(manifest))
    for order in (Order("m", name), Order("m")):
        with pytest.raises(BadRequest, match=re.escape(f"not {name[:200]!r}.")):
            await shop.models.register(order)
        assert nothing_is_left(shop)


@pytest.mark.parametrize(
    ("source", "error"),
    [("raise ValueError('no')", Internal), ("raise MemoryError", OutOfResources)],
)
async def test_a_failed_load_leaves_nothing(
    shop: Shop, source: str, error: type[ServerError]
) -> None:
    """Neither a name nor a process nor a folder."""
    archive = make_archive({"service.py": source})
    (shop.store / "m.tar.gz").write_bytes(archive)
    for workers in (1, 2):
        with pytest.raises(error, match="Failed to start workers"):
            await shop.models.register(Order("m.tar.gz", "m", initial_workers=workers))
        assert nothing_is_left(shop)
    with pytest.raises(ModelNotFound, match=r"^Model not found: m$"):
        shop.models.find("m")


async def test_four_loads_of_one_name(shop: Shop) -> None:
    """One is done, the others are told at once that the name is taken."""
    task = await loading(shop)
    others = [asyncio.create_task(shop.load()) for _ in range(3)]
    for other in others:
        with pytest.raises(Conflict, match=r"Model m is already registered\."):
            await other
    assert shop.models.find("m").state is State.LOADING
    (shop.store / "go").touch()
    assert await task == Registered("m", "scaled")


async def test_requests_wait_for_a_loading_model(shop: Shop) -> None:
    """They are answered when it is ready, or told why it will not be."""
    task = await loading(shop)
    asked = asyncio.create_task(shop.ask("hello"))
    scaled = asyncio.create_task(shop.models.scale("m", 2, None, True))
    (shop.store / "go").touch()
    await task
    assert await asked == "hello"
    assert await scaled == Registered("m", "scaled")
    (shop.store / "go").unlink()
    shop.make("bad", SLOW + "raise ValueError('broken')")
    load = asyncio.create_task(shop.load("bad"))
    await eventually(lambda: "bad" in names(shop))
    asked = asyncio.create_task(shop.ask("hello", "bad"))
    await eventually(lambda: shop.models.find("bad").queued)
    (shop.store / "go").touch()
    with pytest.raises(Internal, match="Failed to start workers: ValueError: broken"):
        await asked
    with pytest.raises(Internal):
        await load


async def test_unregistering_a_loading_model(shop: Shop) -> None:
    """The load is given up, its client and those who wait hear of it, and nothing is left."""
    task = await loading(shop)
    asked = asyncio.create_task(shop.ask("hello"))
    await eventually(lambda: shop.models.find("m").queued)
    await shop.models.unregister("m")
    assert nothing_is_left(shop)
    with pytest.raises(Internal, match="the model was unregistered meanwhile"):
        await task
    with pytest.raises(ModelNotFound):
        await asked


async def test_a_client_that_leaves_stops_nothing(shop: Shop) -> None:
    """The platform asks again, and finds the model."""
    task = await loading(shop)
    task.cancel()
    (shop.store / "go").touch()
    await eventually(lambda: shop.models.find("m").state is State.READY)
    assert await shop.ask("hello") == "hello"
    held = await shop.hold()
    unload = asyncio.create_task(shop.models.unregister("m"))
    await eventually(lambda: shop.models.find("m").state is State.UNLOADING)
    unload.cancel()
    shop.release()
    assert await held == "hold"
    await eventually(lambda: nothing_is_left(shop))


async def test_asynchronous_registration(shop: Shop) -> None:
    """It answers when the artifact is here; a later failure removes the model and is remembered."""
    task = await loading(shop, synchronous=False)
    assert await task == Registered("m", "processing")
    assert shop.models.find("m").state is State.LOADING
    (shop.store / "go").touch()
    assert await shop.ask("hello") == "hello"
    scaled = await shop.models.scale("m", 2, None, synchronous=False)
    assert scaled == Registered("m", "processing")
    await eventually(lambda: shop.models.find("m").ready_workers == 2)
    with pytest.raises(ModelNotFound, match="not found in model store"):
        await shop.models.register(Order("nowhere", "x", synchronous=False))
    await shop.load("bad", source="raise ValueError('broken')", synchronous=False)
    await eventually(lambda: "bad" not in names(shop))
    with pytest.raises(ModelNotFound, match=r"Model not found: bad \(its load failed: .*broken"):
        shop.models.find("bad")
    (shop.store / "bad" / "service.py").write_text(HANDLER)
    await shop.load("bad")
    assert await shop.ask("hello", "bad") == "hello"


async def test_unloading_finishes_what_came_before(shop: Shop) -> None:
    """Running and queued requests are answered; new ones get 404, a registration 409."""
    await shop.load()
    held = await shop.hold()
    queued = [asyncio.create_task(shop.ask(f"{number}")) for number in range(5)]
    await eventually(lambda: shop.models.find("m").queued == 5)
    unloads = [asyncio.create_task(shop.models.unregister("m")) for _ in range(2)]
    await eventually(lambda: shop.models.find("m").state is State.UNLOADING)
    with pytest.raises(ModelNotFound):
        await shop.ask("new")
    with pytest.raises(Conflict):
        await shop.load()
    with pytest.raises(ModelNotFound):
        await shop.models.scale("m", 2, None, True)
    shop.release()
    assert await held == "hold"
    assert await asyncio.gather(*queued) == ["0", "1", "2", "3", "4"]
    await asyncio.gather(*unloads)
    assert nothing_is_left(shop)


async def test_unloading_has_a_limit(make_shop: MakeShop) -> None:
    """After unregister_model_timeout: 408, and everything is gone all the same."""
    shop = await make_shop(unregister_model_timeout_s=0.1)
    await shop.load()
    held = await shop.hold()
    queued = asyncio.create_task(shop.ask("hello"))
    await asyncio.sleep(0)
    with pytest.raises(TimedOut, match="Timed out while cleaning resources: m"):
        await shop.models.unregister("m")
    assert nothing_is_left(shop)
    with pytest.raises(Internal, match="Worker died: killed: unloaded"):
        await held
    with pytest.raises(ModelNotFound):
        await queued


async def test_unloading_gives_up_a_scaling(shop: Shop) -> None:
    """Its client gets 404."""
    folder = shop.make("m")
    await shop.load()
    (folder / "service.py").write_text(SLOW)
    scaled = asyncio.create_task(shop.models.scale("m", 3, None, True))
    await eventually((shop.store / "loading").exists)
    await shop.models.unregister("m")
    with pytest.raises(ModelNotFound):
        await scaled
    assert nothing_is_left(shop)


async def test_pages(shop: Shop) -> None:
    """In the order of names; the last page has no token, also when it is full."""
    for name in ("b", "d", "a", "c"):
        await shop.load(name, initial_workers=0)
    seen, after = [], ""
    for _ in range(2):
        page, after = shop.models.page(2, after)
        seen.append([model.name for model in page])
    assert (seen, after) == ([["a", "b"], ["c", "d"]], "")
    assert shop.models.page(3, "a") == (shop.models.page(100, "a")[0], "")
    assert shop.models.page(0, "")[0] == []


async def test_health_of_a_server_with_models(make_shop: MakeShop) -> None:
    """STARTING until the start-up models are ready, then as well as they are."""
    shop = await make_shop(start=False, models=(("m", "m"),), restart_delay_max_s=600.0)
    folder = shop.make("m", SLOW)
    assert shop.models.health() is Health.STARTING
    starting = asyncio.create_task(shop.models.start())
    await eventually((shop.store / "loading").exists)
    assert shop.models.health() is Health.STARTING
    model = shop.models.only()
    assert model is not None
    assert model.at_startup
    (shop.store / "go").touch()
    await starting
    assert shop.models.health() is Health.HEALTHY
    await shop.models.scale("m", 2, None, True)
    (folder / "service.py").write_text("raise ValueError('broken')")
    first, second = model.rows()
    (template,) = of_model(shop, "m") - {first.pid, second.pid}
    os.kill(template, signal.SIGKILL)
    os.kill(first.pid, signal.SIGKILL)
    await eventually(lambda: shop.models.health() is Health.PARTIAL)
    os.kill(second.pid, signal.SIGKILL)
    await eventually(lambda: shop.models.health() is Health.UNHEALTHY)
    await shop.models.unregister("m")
    assert shop.models.health() is Health.HEALTHY


async def test_startup_models_that_fail_or_have_no_name(make_shop: MakeShop) -> None:
    """A failed one is told by `health`; a nameless one is called after its file."""
    shop = await make_shop(start=False, models=(("bad", "nowhere"), ("", "good.model")))
    shop.make("good.model")
    await shop.models.start()
    assert names(shop) == ["good"]
    assert shop.models.only() is None
    assert shop.models.health() is Health.UNHEALTHY
    assert await shop.ask("hello", "good") == "hello"


async def test_startup_models_have_their_names_before_they_are_loaded(make_shop: MakeShop) -> None:
    """From then on they are LOADING and requests wait; one that cannot be had says why."""
    pairs = (("m", "m"), ("", "n.model"), ("bad", "nowhere"), ("", "nowhere.mar"))
    shop = await make_shop(start=False, models=pairs)
    for name in ("m", "n.model"):
        shop.make(name, SLOW)
    starting = asyncio.create_task(shop.models.start())
    await shop.models.named.wait()
    assert {"m", "n"} <= set(names(shop)) <= {"m", "n", "bad"}
    assert shop.models.find("m").state is shop.models.find("n").state is State.LOADING
    asked = [asyncio.create_task(shop.ask("hello", name)) for name in ("m", "n")]
    await eventually(lambda: all(shop.models.find(name).queued for name in ("m", "n")))
    await eventually(lambda: "bad" not in names(shop))
    with pytest.raises(ModelNotFound, match=r"its load failed: Model not found in model store"):
        shop.models.find("bad")
    (shop.store / "go").touch()
    await starting
    assert await asyncio.gather(*asked) == ["hello", "hello"]
    assert shop.models.health() is Health.UNHEALTHY


async def test_the_only_startup_model(make_shop: MakeShop) -> None:
    """Who asks for it without its name hears why it is not there."""
    shop = await make_shop(models=(("m", "nowhere"),))
    with pytest.raises(ModelNotFound, match=r"m \(its load failed"):
        shop.models.only()


async def test_a_stop_while_startup_models_arrive(make_shop: MakeShop) -> None:
    """Whatever has begun is given up."""
    shop = await make_shop(start=False, models=(("m", "m"), ("n", "n")))
    for name in ("m", "n"):
        shop.make(name, SLOW)
    starting = asyncio.create_task(shop.models.start())
    await shop.models.named.wait()
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)  # as the server does: it ends a process
    await shop.close()
    assert names(shop) == []


async def test_health_of_a_multi_model_container(make_shop: MakeShop) -> None:
    """It is well as long as workers can be started, whatever its models do."""
    shop = await make_shop(multi_model=True)
    await shop.load("m")
    assert shop.models.only() is None
    (worker,) = of_model(shop, "m")
    for pid in shop.processes():
        os.kill(pid, signal.SIGKILL)
    assert shop.models.health() is Health.HEALTHY
    await eventually(lambda: of_model(shop, "m") - {worker} and shop.models.find("m").ready_workers)
    assert await shop.ask("hello") == "hello"


async def test_closing_drains_and_leaves_no_process(shop: Shop) -> None:
    """What is under way is finished, loads are given up, and nothing new is taken."""
    await shop.load("busy")
    held = await shop.hold("busy")
    queued = asyncio.create_task(shop.ask("hello", "busy"))
    load = await loading(shop)
    waiting = asyncio.create_task(shop.ask("hello"))
    await eventually(lambda: shop.models.find("m").queued)
    closing = asyncio.create_task(shop.close())
    with pytest.raises(Unavailable):
        await load
    with pytest.raises(Unavailable):
        await waiting
    with pytest.raises(Unavailable):
        await shop.ask("new", "busy")
    with pytest.raises(Unavailable):
        await shop.load("new")
    shop.release("busy")
    assert await held == "hold"
    assert await queued == "hello"
    await closing
    assert shop.processes() == []


async def test_a_server_that_cannot_start(make_shop: MakeShop) -> None:
    """It says why, and can be closed; one that was never started too."""
    shop = await make_shop(start=False, python=Path("/bin/false"))
    with pytest.raises(StartFailed):
        await shop.models.start()
    assert shop.models.health() is Health.STARTING
    await shop.close()
    await (await make_shop(start=False)).close()


async def test_closing_has_a_limit(shop: Shop) -> None:
    """Also for an unloading that had more time."""
    for name in ("a", "b"):
        await shop.load(name)
    held = [await shop.hold(name) for name in ("a", "b")]
    unload = asyncio.create_task(shop.models.unregister("a"))
    await eventually(lambda: shop.models.find("a").state is State.UNLOADING)
    await shop.close(drain_s=0.1)
    assert shop.processes() == []
    outcomes = await asyncio.gather(*held, unload, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Internal, Internal, TimedOut]


async def test_many_loads_at_once(make_shop: MakeShop) -> None:
    """More than loads_max wait for their turn; unloads come between; none is lost."""
    shop = await make_shop(loads_max=2)
    await asyncio.gather(*(shop.load(f"m{number}") for number in range(12)))
    assert len(names(shop)) == 12
    unloads = (shop.models.unregister(f"m{number}") for number in range(0, 12, 2))
    asks = (shop.ask("hello", f"m{number}") for number in range(1, 12, 2))
    assert (await asyncio.gather(*unloads, *asks))[6:] == ["hello"] * 6
    await asyncio.gather(*(shop.models.unregister(name) for name in names(shop)))
    assert nothing_is_left(shop)


def held_now(shop: Shop) -> dict[str, int]:
    """What a leak would make more of."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "processes": len(shop.processes()),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
        "tasks": len(asyncio.all_tasks()),
        "files": sum(1 for _ in shop.store.parent.rglob("*")),
        "MiB": pages * os.sysconf("SC_PAGE_SIZE") // 2**20,
    }


async def test_cycles_leave_no_growth(shop: Shop) -> None:
    """Load, invoke and unload, CYCLES times (MODELPLEX_CYCLES): all is as after the first ones."""
    (shop.store / "m.tar.gz").write_bytes(make_archive({"service.py": HANDLER, "x": b"1" * 10000}))

    async def cycle(number: int) -> None:
        workers = 2 if number % 10 == 0 else 1
        await shop.models.register(Order("m.tar.gz", "m", initial_workers=workers))
        assert await shop.ask("hello") == "hello"
        await shop.models.unregister("m")

    for number in range(20):
        await cycle(number)
    before = held_now(shop)
    for number in range(CYCLES):
        await cycle(number)
    after = held_now(shop)
    print("before", before, "after", after)
    assert nothing_is_left(shop)
    assert after.pop("MiB") - before.pop("MiB") < 8 + CYCLES // 100
    pools_max = (os.cpu_count() or 1) + 4 + shop.config.loads_max  # asyncio's own, and Sources'
    assert after.pop("threads") <= 1 + pools_max >= before.pop("threads")
    assert after == before

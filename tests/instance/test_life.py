"""Instances as processes: starting, failing, filling up, being killed, coming back."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from modelplex.lanes.wire import path_beside
from tests.instance.archives import Entry, targz
from tests.instance.conftest import StartInstance
from tests.instance.running import KEYS, MIB, S3Server
from tests.support.lanes import Unready
from tests.support.models import make_image
from tests.support.processes import processes_of
from tests.support.waiting import eventually


async def test_a_small_budget_evicts_and_every_answer_is_right(
    start_instance: StartInstance,
) -> None:
    """Six models with room for about two: least recently used ones leave, with a receipt."""
    running = await start_instance(memory_bytes=140 * MIB).healthy()
    names = [f"m{number}.tar.gz" for number in range(6)]
    for name in names:
        running.put(name, weights=f"hog 40 {name}")
    for name in [*names, *reversed(names)]:
        reply = await running.invoke(name)
        assert reply.status == 200, reply.body
        assert reply.document["weights"] == f"hog 40 {name}"
    memory = (await running.report())["memory"]
    assert memory["used"] <= memory["budget"]
    evicted = [e for e in await running.events("unloaded") if e["reason"] == "memory"]
    assert evicted
    for event in evicted:
        assert event["for_model"] in names
        assert event["freed_bytes"] > 40 * MIB
        assert event["used_bytes_after"] < event["used_bytes_before"]


async def test_a_full_disk_drops_artifacts(start_instance: StartInstance) -> None:
    """An artifact that needs the room of others gets it, found out while it is unpacked."""
    running = await start_instance(disk_bytes=12 * MIB).healthy()
    for name in ("a", "b", "c"):
        running.put(f"{name}.tar.gz", **{"big.bin": os.urandom(5 * MIB)})
    for name in ("a", "b", "c", "a"):
        assert (await running.invoke(f"{name}.tar.gz")).status == 200
        disk = (await running.report())["disk"]
        assert disk["used"] <= disk["budget"]
    assert {e["reason"] for e in await running.events("dropped")} == {"disk"}
    running.put("never.tar.gz", **{"big.bin": os.urandom(13 * MIB)})
    reply = await running.invoke("never.tar.gz")
    assert (reply.status, reply.error) == (424, "ModelError")
    assert (await running.invoke("b.tar.gz")).status == 200


async def test_a_proxy_is_not_asked_for_the_embedded_store(
    start_instance: StartInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HTTP_PROXY of a user's environment is for the world outside this machine."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    running = await start_instance().healthy()
    running.put("m.tar.gz")
    assert (await running.invoke("m.tar.gz")).status == 200


async def test_cache_disabled_keeps_nothing(start_instance: StartInstance) -> None:
    """ModelCacheSetting Disabled: a model leaves memory and disk after its answer."""
    running = await start_instance(cache="Disabled").healthy()
    running.put("once.tar.gz")
    assert (await running.invoke("once.tar.gz")).status == 200

    async def dropped() -> bool:
        return bool(await running.events("dropped"))

    await running.until(dropped)
    reasons = [e["reason"] for e in await running.events("unloaded", "dropped")]
    assert reasons == ["uncached", "uncached"]
    assert (await running.report())["models"] == []
    assert not list((running.home / "instance/disk/models").iterdir())
    assert (await running.invoke("once.tar.gz")).headers["x-modelplex-start"] == "cold"


async def test_a_slow_load_goes_on_while_its_clients_are_told(
    start_instance: StartInstance, tmp_path: Path
) -> None:
    """ModelNotReadyException after the time a request waits; the model is there for a later one."""
    running = await start_instance(limits={"model_ready_timeout_s": 0.2}).healthy()
    running.put("slow.tar.gz", weights=f"until {tmp_path}/go")
    reply = await running.invoke("slow.tar.gz")
    assert (reply.status, reply.error) == (429, "ModelNotReadyException")
    assert int(reply.headers["retry-after"]) > 0
    (tmp_path / "go").touch()
    await running.until_row("slow.tar.gz", state="loaded")
    assert (await running.invoke("slow.tar.gz")).headers["x-modelplex-start"] == "warm"
    assert len(await running.events("loaded")) == 1


async def test_a_load_without_end_is_given_up(start_instance: StartInstance) -> None:
    """After the time for fetch and load together, the worker is killed and the requests refused."""
    running = await start_instance(limits={"model_load_timeout_s": 0.5}).healthy()
    running.put("stuck.tar.gz", weights="sleep 600")
    reply = await running.invoke("stuck.tar.gz")
    assert (reply.status, reply.error) == (424, "ModelError")
    assert "0.5 s" in reply.document["OriginalMessage"]
    await running.until_row("stuck.tar.gz", state="on_disk")


async def test_a_hanging_handler_costs_its_worker(start_instance: StartInstance) -> None:
    """SageMaker's own words and status 0; queued requests are answered by the next worker."""
    running = await start_instance(limits={"invocation_timeout_s": 5.0}).healthy()
    running.put("hangs.tar.gz")
    hanging = asyncio.create_task(running.invoke("hangs.tar.gz", b"sleep 600"))
    queued = asyncio.create_task(running.invoke("hangs.tar.gz", b"hello"))
    members = (await hanging).document
    assert members["OriginalStatusCode"] == 0
    assert members["OriginalMessage"].startswith("Your invocation timed out while waiting")
    assert (await queued).document["answered"] == 1


async def test_full_queues_are_refused(start_instance: StartInstance, tmp_path: Path) -> None:
    """Beyond the queue's length: ServiceUnavailable, at once."""
    running = await start_instance(limits={"queue_per_model_max": 2}).healthy()
    running.put("busy.tar.gz", weights=f"until {tmp_path}/go")
    asked = [asyncio.create_task(running.invoke("busy.tar.gz")) for _ in range(5)]
    await eventually(lambda: sum(task.done() for task in asked) == 3)
    (tmp_path / "go").touch()
    replies = await asyncio.gather(*asked)
    refused = [reply for reply in replies if reply.status == 503]
    assert [reply.status for reply in replies].count(200) == 2
    assert {reply.error for reply in refused} == {"ServiceUnavailable"}


async def test_who_waits_too_long_for_a_busy_worker_is_refused(
    start_instance: StartInstance, tmp_path: Path
) -> None:
    """When the time is over, not when the worker is free; with a word on when to come again."""
    running = await start_instance(limits={"queue_wait_max_s": 0.1}).healthy()
    running.put("busy.tar.gz")
    body = f"until {tmp_path}/go".encode()
    calls = [asyncio.create_task(running.invoke("busy.tar.gz", body)) for _ in range(2)]
    await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    (tmp_path / "go").touch()
    first, second = sorted(await asyncio.gather(*calls), key=lambda reply: reply.status)
    assert (first.status, second.status, second.error) == (200, 503, "ServiceUnavailable")
    assert "asked for more often than it answers" in second.document["Message"]
    assert second.headers["retry-after"] == "1"


async def test_a_restart_finds_what_is_on_the_disk(start_instance: StartInstance) -> None:
    """Whole artifacts are used again without the store; leftovers without a record are removed."""
    first = await start_instance().healthy()
    first.put("kept.tar.gz")
    assert (await first.invoke("kept.tar.gz")).status == 200
    await first.leave()
    first.kill()
    first.expect_gone()
    disk = first.home / "instance/disk"
    (disk / "models/0123/model").mkdir(parents=True)
    (disk / "tmp/half").mkdir(parents=True)
    (first.s3.folder / first.bucket / "models/kept.tar.gz").unlink()
    first.start()
    await first.healthy()
    assert (await first.row("kept.tar.gz"))["state"] == "on_disk"
    assert (await first.invoke("kept.tar.gz")).headers["x-modelplex-start"] == "disk"
    assert not (disk / "models/0123").exists()
    assert not (disk / "tmp/half").exists()


async def test_sigkill_leaves_no_process(start_instance: StartInstance) -> None:
    """Workers, busy and stuck ones too, die with their instance."""
    running = await start_instance().healthy()
    for name in ("idle.tar.gz", "busy.tar.gz"):
        running.put(name)
        await running.invoke(name)
    request = asyncio.create_task(running.invoke("busy.tar.gz", b"sleep 600"))
    await running.until_row("busy.tar.gz", in_flight=1)
    assert len(processes_of(running.home)) >= 4
    running.kill()
    await asyncio.gather(request, return_exceptions=True)
    running.expect_gone()


async def test_sigterm_finishes_what_is_running(
    start_instance: StartInstance, tmp_path: Path
) -> None:
    """The request under way is answered, then everything ends with status 0."""
    running = await start_instance().healthy()
    running.put("last.tar.gz")
    await running.invoke("last.tar.gz")
    body = f"until {tmp_path}/go".encode()
    request = asyncio.create_task(running.invoke("last.tar.gz", body))
    await running.until_row("last.tar.gz", in_flight=1)
    assert running.process is not None
    running.process.terminate()
    lane = Path(path_beside(running.spec["socket"]))
    await eventually(lambda: not lane.exists())  # it has heard of it
    (tmp_path / "go").touch()
    assert (await request).status == 200
    await running.leave()
    assert await asyncio.to_thread(running.stop) == 0
    assert "model.crashed" not in running.errors()


async def test_the_death_of_the_parent_ends_it(start_instance: StartInstance) -> None:
    """Whoever started the instance may be killed: the instance follows."""
    running = await start_instance().healthy()
    running.stop()
    parent = running.start_below_a_parent()
    await running.healthy()
    parent.kill()
    parent.wait(60)
    await asyncio.to_thread(running.expect_gone)


async def test_orphans_of_handlers_do_not_outlive_it(
    start_instance: StartInstance, tmp_path: Path
) -> None:
    """A process that a handler started in a session of its own ends with the instance."""
    handler = (
        "import subprocess\n"
        "def handle(data, context):\n"
        "    if data is not None:\n"
        "        child = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
        "        return [str(child.pid)]\n"
    )
    image = make_image(tmp_path / "straying", handler)
    running = start_instance()
    running.stop()
    running.spec["image"]["folder"] = str(image)
    running.start()
    await running.healthy()
    running.put("strays.tar.gz")
    pid = int((await running.invoke("strays.tar.gz")).body)
    assert pid in processes_of(running.home)
    await running.leave()
    running.stop()
    assert pid not in processes_of(running.home)


async def test_a_broken_image_is_a_failed_instance(
    start_instance: StartInstance, tmp_path: Path
) -> None:
    """The ping names the reason, and the process stays to say it."""
    running = start_instance()
    running.stop()
    image = make_image(tmp_path / "broken", "import no_such_module\n")
    running.spec["image"]["folder"] = str(image)
    running.start()
    document = await running.until_ping(503, "Failed")
    assert "no_such_module" in document["reason"]
    with pytest.raises(Unready, match="the instance is Failed"):
        await running.invoke("any.tar.gz")


async def test_single_model_mode(start_instance: StartInstance, s3: S3Server) -> None:
    """One artifact, loaded before the instance is healthy; TargetModel is refused."""
    s3.put("single", "only/model.tar.gz", targz(Entry("weights.txt", b"sleep 0.3")))
    running = start_instance(mode="SingleModel", model_data_url="s3://single/only/model.tar.gz")
    await running.healthy()
    assert len(await running.events("loaded")) == 1
    reply = await running.invoke(None, b"hello")
    assert (reply.status, reply.document["weights"]) == (200, "sleep 0.3")
    assert reply.headers["x-modelplex-start"] == "warm"
    refused = await running.invoke("model.tar.gz")
    assert (refused.status, refused.error) == (400, "ValidationError")
    assert "is not a multi-model endpoint" in refused.document["Message"]


@pytest.mark.parametrize(
    ("key", "reason"), [("missing.tar.gz", "Failed to download"), ("bad.tar.gz", "are refused")]
)
async def test_a_single_model_that_cannot_be_had(
    start_instance: StartInstance, s3: S3Server, key: str, reason: str
) -> None:
    """The instance is Failed, and says why."""
    s3.put("single", "bad.tar.gz", targz(Entry("weights.txt", b"refuse")))
    running = start_instance(mode="SingleModel", model_data_url=f"s3://single/{key}")
    document = await running.until_ping(503, "Failed")
    assert reason in document["reason"]


async def test_models_out_of_an_allowed_folder(
    start_instance: StartInstance, tmp_path: Path
) -> None:
    """`file://` works below file_roots, and neither beside them nor through links out of them."""
    allowed, secret = tmp_path / "allowed", tmp_path / "secret"
    for folder in (allowed, secret):
        folder.mkdir()
        (folder / "m.tar.gz").write_bytes(targz(Entry("weights.txt", folder.name.encode())))
    (allowed / "link.tar.gz").symlink_to(secret / "m.tar.gz")
    url = f"file://{allowed}/"
    running = await start_instance(model_data_url=url, file_roots=[str(allowed)]).healthy()
    assert (await running.invoke("m.tar.gz")).document["weights"] == "allowed"
    for name in ("link.tar.gz", "none.tar.gz"):
        reply = await running.invoke(name)
        assert (reply.status, reply.error) == (400, "ValidationError"), reply.body


async def test_a_store_that_dies_and_comes_back(
    start_instance: StartInstance, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """530 while it is away, warm models answer on, and afterwards everything is as before."""
    store = S3Server(tmp_path_factory.mktemp("mortal"))
    store.start()
    running = start_instance(s3={"endpoint": store.endpoint, "region": "us-west-2", **KEYS})
    running.s3 = store
    await running.healthy()
    running.put("warm.tar.gz")
    running.put("cold.tar.gz", **{"big.bin": os.urandom(2 * MIB)})
    assert (await running.invoke("warm.tar.gz")).status == 200
    store.pause()
    cold = asyncio.create_task(running.invoke("cold.tar.gz"))
    await running.until_row("cold.tar.gz", state="fetching")
    store.kill()
    reply = await cold
    assert (reply.status, reply.error) == (530, "InternalDependencyException"), reply.body
    assert (await running.invoke("warm.tar.gz")).status == 200
    store.start()
    assert (await running.invoke("cold.tar.gz")).status == 200
    store.kill()


def test_a_wrong_spec_is_refused(tmp_path: Path) -> None:
    """The process ends at once and names the member."""
    (tmp_path / "spec.json").write_text("{}")
    command = [sys.executable, "-m", "modelplex.instance", str(tmp_path / "spec.json")]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert done.returncode == 1
    assert b"The spec lacks the member 'id'." in done.stderr

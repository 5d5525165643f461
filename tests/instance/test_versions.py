"""Versions of one model on a real instance: followed, found again, and gone back from."""

from __future__ import annotations

import os
import resource
from typing import Any

from tests.instance.conftest import StartInstance
from tests.instance.running import Running
from tests.support.processes import processes_of

REFRESH = {"pattern": "*", "refresh": True}


async def serving(instance: Running) -> dict[str, Any]:
    """The report's row of the version of `m` that serves."""
    _, report = await instance.client.json("GET", "/report")
    rows = [row for row in report["models"] if row["model"] == "m"]
    return next(row for row in rows if row["standing"] == "serving")


async def answers(instance: Running, weights: str) -> bool:
    reply = await instance.invoke("m")
    return bool(reply.document["weights"] == weights)


async def test_versions_outlive_a_restart_and_the_store(start_instance: StartInstance) -> None:
    """Both are on the disk; the newer serves, until its owner wants the older."""
    instance = await start_instance(limits={"refresh_interval_s": 0.02}).healthy()
    instance.put("m", "one")
    assert await answers(instance, "one")
    status, _ = await instance.client.json("PUT", "/rules", {"rules": [REFRESH], "rejected": []})
    assert status == 200
    instance.put("m", "two")
    await instance.until(lambda: answers(instance, "two"))
    await instance.leave()
    instance.stop()
    instance.start()
    await instance.healthy()
    assert await answers(instance, "two")
    row = await serving(instance)
    (instance.s3.folder / instance.bucket / "models" / "m").unlink()
    rejected = {"model": "m", "version": row["version"]}
    await instance.client.json("PUT", "/rules", {"rules": [REFRESH], "rejected": [rejected]})
    await instance.until(lambda: answers(instance, "one"))
    after = await serving(instance)
    assert after["version"] == row["previous"]
    assert list(after["rejected"]) == [row["version"]]
    _, told = await instance.client.json("GET", "/events?after=0")
    assert {event["model"] for event in told["events"]} == {"m"}
    assert after["version"] in [e["version"] for e in told["events"] if e["event"] == "switched"]


async def test_a_disk_that_is_full_costs_only_the_new_version(
    start_instance: StartInstance,
) -> None:
    """The old one serves on, nothing half-made stays, and later the new one comes after all."""
    instance = await start_instance(limits={"refresh_interval_s": 0.02}).healthy()
    instance.put("m", "one")
    assert await answers(instance, "one")
    fetching = (n for n, argv in processes_of(instance.home).items() if "artifacts.fetch" in argv)
    pid = next(fetching)
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (2**20, hard))  # a full disk, as far as it can see
    instance.put("m", "two", **{"big.bin": os.urandom(2**20 + 1)})
    await instance.client.json("PUT", "/rules", {"rules": [REFRESH], "rejected": []})

    async def failed() -> bool:
        return bool(await instance.events("failed"))

    await instance.until(failed)
    assert await answers(instance, "one")
    assert not list((instance.home / "instance/disk/tmp").iterdir())
    (event, *_) = await instance.events("failed")
    assert "could not store the model data" in event["why"]
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
    await instance.until(lambda: answers(instance, "two"))


async def test_impossible_rules_are_refused(start_instance: StartInstance) -> None:
    """With the member that is wrong; nothing of them is taken."""
    instance = await start_instance().healthy()
    for document in ({}, {"rules": [{"colour": 1}], "rejected": []}, []):
        status, answer = await instance.client.json("PUT", "/rules", document)
        assert status == 400, answer

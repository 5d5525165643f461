"""What a caller of InvokeEndpoint sees, against a real instance over a real S3."""

from __future__ import annotations

import asyncio
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.instance.archives import Entry, symlink, targz
from tests.instance.running import Reply, Running
from tests.support.processes import eventually

TIMED_OUT = "Your invocation timed out while waiting for a response from container model."


def model_error(reply: Reply, original_status: int) -> dict[str, Any]:
    """The members of a ModelError, checked against the service's model."""
    assert (reply.status, reply.error) == (424, "ModelError"), reply.body
    members: dict[str, Any] = reply.document
    assert members["OriginalStatusCode"] == original_status
    assert members["LogStreamArn"].startswith(
        "arn:aws:logs:us-west-2:123456789012:log-group:/aws/sagemaker/Endpoints/demo:log-stream:"
    )
    return members


async def test_a_cold_then_a_warm_request(instance: Running) -> None:
    """The first request fetches and loads and says so; the second is answered at once."""
    instance.put("dir/cold.tar.gz")
    cold = await instance.invoke("dir/cold.tar.gz", b"hello", x_amzn_requestid="r-1")
    assert cold.status == 200, cold.body
    assert cold.document["weights"] == "dir/cold.tar.gz"
    assert cold.document["body"] == "hello"
    assert cold.headers["x-modelplex-start"] == "cold"
    assert cold.headers["x-amzn-requestid"] == "r-1"
    assert cold.interims == ["waiting", "begun"]
    warm = await instance.invoke("dir/cold.tar.gz", b"again")
    assert warm.document["answered"] == 2
    assert warm.headers["x-modelplex-start"] == "warm"
    assert warm.headers["server-timing"].startswith("queue;dur=0, fetch;dur=0, load;dur=0, handle")
    assert warm.interims == []


async def test_two_hundred_first_requests_need_one_load(instance: Running) -> None:
    """However many wait for a cold model: one fetch, one load, every request its own answer."""
    instance.put("crowd.tar.gz")
    bodies = [f"request {number}".encode() for number in range(200)]
    replies = await asyncio.gather(*(instance.invoke("crowd.tar.gz", body) for body in bodies))
    assert [reply.document["body"].encode() for reply in replies] == bodies
    assert {reply.document["weights"] for reply in replies} == {"crowd.tar.gz"}
    done = [
        e["event"]
        for e in await instance.events("fetched", "loaded")
        if e["model"] == "crowd.tar.gz"
    ]
    assert done == ["fetched", "loaded"]


async def test_models_do_not_share_state(instance: Running) -> None:
    """Each model answers with its own weights out of its own process."""
    names = [f"own-{number}.tar.gz" for number in range(4)]
    for name in names:
        instance.put(name)
    replies = await asyncio.gather(*(instance.invoke(name) for name in names * 3))
    assert [reply.document["weights"] for reply in replies] == names * 3
    assert len({reply.document["pid"] for reply in replies}) == len(names)


@pytest.mark.parametrize(
    "target",
    ["../up.tar.gz", "a/../../b", "/absolute", "a//b", "a/./b", "a\\b", "a/", "x" * 1025, "tab\tx"],
)
async def test_an_impossible_target_is_refused(instance: Running, target: str) -> None:
    """Names that could lead anywhere else never reach store or disk."""
    reply = await instance.invoke(target)
    assert (reply.status, reply.error) == (400, "ValidationError")
    assert await instance.row(target) == {}


async def test_a_missing_target_is_refused(instance: Running) -> None:
    """A multi-model endpoint needs TargetModel."""
    reply = await instance.invoke(None)
    assert (reply.status, reply.error) == (400, "ValidationError")
    assert "missing a target model header" in reply.document["Message"]


async def test_a_missing_artifact(instance: Running) -> None:
    """No object at the URL: the caller's mistake, in SageMaker's words, and the next try is new."""
    reply = await instance.invoke("later.tar.gz")
    assert (reply.status, reply.error) == (400, "ValidationError")
    key = f"bucket: {instance.bucket}, key: models/later.tar.gz"
    assert f"Failed to download model data({key})" in reply.document["Message"]
    assert "NoSuchKey" in reply.document["Message"]
    instance.put("later.tar.gz")
    assert (await instance.invoke("later.tar.gz")).status == 200


GOOD = targz(Entry("weights.txt", b"good"))
BAD_ARCHIVES = {
    "outside": (targz(Entry("../evil", b"x")), "'../evil' leads out of the model's folder"),
    "absolute": (targz(Entry("/tmp/evil", b"x")), "'/tmp/evil' has an absolute path"),
    "link": (targz(symlink("l", "../../../evil")), "'l' is a link to the outside"),
    "device": (targz(Entry("d", type=tarfile.CHRTYPE)), "'d' is a character device"),
    "truncated": (GOOD[:-9], "it is truncated"),
    "bomb": (targz(Entry("zeros", bytes(80_000_000))), "unpacks to more than"),
    "text": (b"this is no archive", "it is not a gzip file"),
}


@pytest.mark.parametrize("case", BAD_ARCHIVES)
async def test_a_bad_archive_is_refused(instance: Running, case: str) -> None:
    """Damaged and hostile archives are the caller's mistake, named; nothing of them stays."""
    data, reason = BAD_ARCHIVES[case]
    instance.s3.put(instance.bucket, f"models/{case}.tar.gz", data)
    reply = await instance.invoke(f"{case}.tar.gz")
    assert (reply.status, reply.error) == (400, "ValidationError")
    assert reason in reply.document["Message"]
    assert not list((instance.home / "instance/disk/tmp").iterdir())
    assert await instance.row(f"{case}.tar.gz") == {}


async def test_a_handler_that_raises(instance: Running) -> None:
    """ModelError with what the handler said, and the model goes on."""
    instance.put("raises.tar.gz")
    members = model_error(await instance.invoke("raises.tar.gz", b"raise"), 500)
    assert "the handler was asked to raise" in members["OriginalMessage"]
    assert members["Message"].startswith("Received server error (500) from model with message ")
    assert "in account 123456789012 for more information." in members["Message"]
    assert (await instance.invoke("raises.tar.gz")).document["answered"] == 2


@pytest.mark.parametrize(("body", "how"), [(b"crash", "SIGSEGV"), (b"exit", "exit code 3")])
async def test_a_worker_that_dies(instance: Running, body: bytes, how: str) -> None:
    """Its caller gets a ModelError, the next one a new worker, and other models notice nothing."""
    name, other = f"dies-{body.decode()}.tar.gz", f"lives-{body.decode()}.tar.gz"
    instance.put(name)
    instance.put(other)
    witness = (await instance.invoke(other)).document["pid"]
    members = model_error(await instance.invoke(name, body), 500)
    assert how in members["OriginalMessage"]
    again = await instance.invoke(name)
    assert (again.status, again.document["answered"]) == (200, 1)
    assert (await instance.invoke(other)).document["pid"] == witness
    assert any(e["model"] == name for e in await instance.events("crashed"))


async def test_a_model_that_cannot_be_loaded(instance: Running) -> None:
    """All who wait get the handler's own reason, and the next request tries again."""
    instance.put("refused.tar.gz", weights="refuse")
    replies = await asyncio.gather(*(instance.invoke("refused.tar.gz") for _ in range(3)))
    for reply in replies:
        assert "the weights are refused" in model_error(reply, 500)["OriginalMessage"]
    assert (await instance.row("refused.tar.gz"))["state"] == "on_disk"


async def test_a_model_larger_than_the_instance(instance: Running) -> None:
    """After retries with all the memory there is: 507."""
    instance.put("huge.tar.gz", weights="hog 600")
    model_error(await instance.invoke("huge.tar.gz"), 507)


async def test_a_model_that_runs_out_of_memory_while_it_predicts(instance: Running) -> None:
    """Its caller gets 507, and the next one a new worker, whatever the old one still held."""
    instance.put("greedy.tar.gz")
    first = (await instance.invoke("greedy.tar.gz")).document
    model_error(await instance.invoke("greedy.tar.gz", b"hog 600"), 507)
    again = await instance.invoke("greedy.tar.gz")
    assert (again.status, again.document["answered"]) == (200, 1)
    assert again.document["pid"] != first["pid"]


async def test_a_body_above_the_limit(instance: Running) -> None:
    """More than 6,291,456 bytes are refused unread."""
    instance.put("fat.tar.gz")
    reply = await instance.invoke("fat.tar.gz", bytes(6_291_457))
    assert reply.status == 413
    assert "HTTP content length exceeded 6291456 bytes." in reply.document["message"]
    largest = await instance.invoke("fat.tar.gz", bytes(6_291_456))
    assert largest.document["bytes"] == 6_291_456


async def test_a_client_that_leaves_gives_up_its_place(instance: Running, tmp_path: Path) -> None:
    """Requests whose clients have gone, waiting or running, leave nothing behind."""
    instance.put("left.tar.gz", weights=f"until {tmp_path}/load")
    waiting = [asyncio.create_task(instance.invoke("left.tar.gz")) for _ in range(3)]
    await instance.until_row("left.tar.gz", waiting=3)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    await instance.until_row("left.tar.gz", waiting=0)
    (tmp_path / "load").touch()
    running = asyncio.create_task(
        instance.invoke("left.tar.gz", f"until {tmp_path}/answer".encode())
    )
    await instance.until_row("left.tar.gz", in_flight=1)
    running.cancel()
    last = asyncio.create_task(instance.invoke("left.tar.gz", b"hello"))
    await asyncio.gather(running, return_exceptions=True)
    (tmp_path / "answer").touch()
    assert (await last).document["answered"] == 2
    row = await instance.row("left.tar.gz")
    assert (row["waiting"], row["in_flight"]) == (0, 0)


async def test_the_journal_explains_a_request(instance: Running) -> None:
    """Each answer is one `invoked` with its timings; numbers go on without gaps in order."""
    instance.put("told.tar.gz")
    await instance.invoke("told.tar.gz", x_amzn_requestid="told-1")
    event = next(e for e in await instance.events("invoked") if e["request_id"] == "told-1")
    assert (event["model"], event["start"], event["status"]) == ("told.tar.gz", "cold", 200)
    assert event["fetch"] > 0
    assert event["load"] > 0
    assert event["handle"] > 0
    _, newer = await instance.client.json("GET", f"/events?after={event['n']}")
    assert all(e["n"] > event["n"] for e in newer["events"])
    assert newer["next"] >= event["n"]
    status, _ = await instance.client.json("GET", "/events?after=x")
    assert status == 400


async def test_the_report(instance: Running) -> None:
    """Budgets, use and one row for each model, as the internal API promises."""
    instance.put("reported.tar.gz")
    answer = (await instance.invoke("reported.tar.gz")).document
    report = await instance.report()
    assert (report["id"], report["status"]) == (instance.spec["id"], "Healthy")
    assert 0 < report["memory"]["base"] < report["memory"]["used"] <= report["memory"]["budget"]
    assert 0 < report["disk"]["used"] <= report["disk"]["budget"]
    assert report["counters"]["loaded"] >= 1
    row = await instance.row("reported.tar.gz")
    assert (row["state"], row["pid"], row["hits"], row["loads"]) == ("loaded", answer["pid"], 1, 1)
    assert row["memory_bytes"] > 0
    assert row["disk_bytes"] > 0
    assert abs(row["last_used_at"] - row["loaded_at"]) < 60.0  # both Unix times, of just now


async def test_output_goes_to_the_models_own_log(instance: Running) -> None:
    """What a handler prints is a JSON line in a file named after variant, instance and model."""
    instance.put("sub/prints.tar.gz")
    await instance.invoke("sub/prints.tar.gz")
    name = f"AllTraffic~{instance.spec['id']}~sub%2Fprints.tar.gz.jsonl"
    path = instance.home / "logs" / name
    await asyncio.to_thread(eventually, path.exists)
    line = json.loads(path.read_text().splitlines()[0])
    assert (line["m"], line["model"]) == ("answering 1", "sub/prints.tar.gz")
    platform = (instance.home / "logs" / f"AllTraffic~{instance.spec['id']}.jsonl").read_text()
    assert "Loaded model sub/prints.tar.gz" in platform


async def test_unknown_doors(instance: Running) -> None:
    """Any other path is a 404 that says so."""
    status, document = await instance.client.json("GET", "/nowhere")
    assert (status, document["message"]) == (404, "no such door: GET b'/nowhere'")

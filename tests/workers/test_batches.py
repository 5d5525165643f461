"""Batches: several requests, one call of the handler, an answer for each."""

from __future__ import annotations

import asyncio
import json

import pytest

from modelplex.workers.errors import LoadFailed, NotBegun, TimedOut, WorkerDied
from modelplex.workers.limits import PoolLimits
from modelplex.workers.worker import AHEAD_MAX, Answer, Invocation, Worker
from tests.support.clocks import hurried_clock

RUN = """
import os, time
def handle(data, context):
    if data is None:
        return None
    answer = [item.get("body") for item in data]
    scope = {**globals(), "context": context, "data": data, "answer": answer}
    exec(bytes(data[0]["body"]).decode(), scope)
    return scope["answer"]
"""


@pytest.fixture
async def worker(make_stage):
    """A model that runs the body of the first request as Python, and answers all."""
    return await (await make_stage(RUN)).load(batch_size=8, gpu_id=1)


async def submit(
    worker: Worker, *bodies: bytes, timeout_s: float = 60.0, headers: tuple[bytes, ...] = ()
) -> list[Answer]:
    """The answers to a batch; raises what the batch died of."""
    outcome: asyncio.Future[list[Answer] | WorkerDied] = asyncio.get_running_loop().create_future()
    batch = [
        Invocation([(b"x-at", b"%d" % at), *((b"content-type", h) for h in headers[at:][:1])], body)
        for at, body in enumerate(bodies)
    ]
    worker.submit(batch, timeout_s, outcome.set_result)
    assert worker.busy
    assert not outcome.done()
    result = await outcome
    assert not worker.busy
    if isinstance(result, WorkerDied):
        raise result
    return result


async def test_one_call_for_all(worker):
    """Each request has its place: headers and id in, status, headers and content type out."""
    code = b"""
for at in range(len(data)):
    context.set_response_status(200 + at, f"phrase {at}", at)
    context.set_response_header(at, "X-At", context.get_request_header(at, "X-AT"))
context.set_response_content_type(1, "text/csv")
properties = context.system_properties
answer[0] = [len(data), context.get_request_id(2), properties["batch_size"], properties["gpu_id"]]
"""
    first, second, third = await submit(worker, code, b"two", b"three" * 10_000)
    count, request_id, batch_size, gpu = json.loads(first.body)
    assert (count, batch_size, gpu) == (3, 8, 1)
    assert request_id
    assert (first.status, first.phrase, first.headers) == (200, "phrase 0", [(b"x-at", b"0")])
    assert second.headers == [(b"x-at", b"1"), (b"content-type", b"text/csv")]
    assert (second.status, second.body) == (201, b"two")
    assert (third.status, third.body, third.failure) == (202, b"three" * 10_000, "")


@pytest.mark.parametrize(
    ("code", "statuses", "failures"),
    [
        (b"answer.pop()", [503, 503], ["invalid", "invalid"]),
        (b"answer = 'text'", [503, 503], ["invalid", "invalid"]),
        (b"answer = [b'', object()]", [200, 503], ["", "invalid"]),
        (b"raise ValueError", [500, 500], ["raised", "raised"]),
        (b"raise MemoryError", [507, 507], ["memory", "memory"]),
        (b"context.request_processor = []", [500, 500], ["raised", "raised"]),
        (b"answer[1] = bytes(7_000_000)", [200, 500], ["", "invalid"]),
        (b"context.set_response_header(0, 'x', 'y' * 2**21)", [500, 200], ["invalid", ""]),
        (b"context.set_response_header(0, 'a b', 'c')", [200, 200], ["", ""]),
        (
            b"from mms.service import PredictionException as E; raise E('no', 422)",
            [422, 422],
            ["prediction", "prediction"],
        ),
    ],
)
async def test_what_goes_wrong_is_everybodys_or_ones_own(worker, code, statuses, failures):
    """The call's failure is everybody's; one answer's is that request's alone."""
    answers = await submit(worker, code, b"second")
    assert [answer.status for answer in answers] == statuses
    assert [answer.failure for answer in answers] == failures
    assert (await submit(worker, b""))[0].status == 200


async def test_malformed_requests_are_left_out(worker):
    """They get 400, and the handler a shorter batch."""
    form = b"application/x-www-form-urlencoded"
    bodies = (b"%", b"answer = [str(len(data)), 'b']", b"%x", b"other", b"%1")
    answers = await submit(worker, *bodies, headers=(form, b"", form, b"", form))
    assert [answer.status for answer in answers] == [400, 200, 400, 200, 400]
    assert [bytes(answer.body) for answer in answers if answer.status == 200] == [b"2", b"b"]
    assert answers[0].failure == "input"
    (alone,) = await submit(worker, b"%", headers=(form,))
    assert (alone.status, alone.failure) == (400, "input")


async def test_parameters_and_decoding_reach_the_handler(make_stage, tools):
    """As far as the model asks for it."""
    source = """
        def handle(data, context):
            return None if data is None else [sorted(f"{k} {v}" for k, v in data[0].items())]
        """
    stage = await make_stage(source)
    plain, decoding = await stage.load("plain"), await stage.load("decoding", decode=True)
    answers = [
        await tools.ask(w, b'{"a": 1}', query=b"k=v", content_type="application/json")
        for w in (plain, decoding)
    ]
    assert json.loads(answers[0].body) == ["""body bytearray(b'{"a": 1}')""", "k bytearray(b'v')"]
    assert json.loads(answers[1].body) == ["body {'a': 1}", "k bytearray(b'v')"]


async def test_large_batches(worker):
    """More buffers than one system call takes, in both directions, and large bodies among them."""
    bodies = [b"", *(b"%d" % n * (20_000 if n % 50 == 0 else 1) for n in range(1, 1500))]
    answers = await submit(worker, *bodies)
    assert [answer.body for answer in answers] == bodies


async def test_a_batch_beyond_the_limits_is_not_sent(make_stage):
    """ValueError before anything was written; the worker is idle as before."""
    worker = await (await make_stage(limits=PoolLimits(body_bytes_max=10))).load()
    for batch, reason in (
        ([Invocation([], b"x"), Invocation([], b"x" * 11)], "at most 10 are allowed"),
        ([Invocation([(b"a", b"b\0c")], b"")], "NUL"),
        ([Invocation([(b"a", b"b" * 2_000_000)], b"")], "too many to send"),
    ):
        with pytest.raises(ValueError, match=reason):
            worker.submit(batch, 60.0, lambda outcome: None)
        assert not worker.busy


def _note(told, what, _):
    told.append(what)


async def test_a_worker_may_be_asked_ahead_of_time(worker):
    """A few batches: it answers them in order, each with its own time; more is a mistake."""
    told: list[object] = []
    for number in range(AHEAD_MAX):
        worker.submit(
            [Invocation([], b"time.sleep(0.02)")], 60.0, lambda _, n=number: told.append(n)
        )
    with pytest.raises(RuntimeError, match="more than 16 batches at once"):
        worker.submit([Invocation([], b"")], 60.0, told.append)
    assert worker.busy
    await worker.invoke(Invocation([], b""), 60.0)
    assert told == list(range(AHEAD_MAX))


@pytest.mark.parametrize("end", [b"os._exit(9)", b"time.sleep(600)"])
async def test_only_the_batch_that_a_worker_worked_on_is_lost(worker, end):
    """Those behind it were not begun, and are said to be."""
    told: list[type] = []
    for code in (b"", end, b"", b""):
        limit_s = 0.5 if code == end else 60.0
        worker.submit([Invocation([], code)], limit_s, lambda outcome: told.append(type(outcome)))
    await worker.exited
    assert told[0] is list
    assert told[1] in {WorkerDied, TimedOut}
    assert told[2:] == [NotBegun, NotBegun]


async def test_a_batch_may_take_its_time_only(worker, tools, tmp_path):
    """Also when an earlier one had more, and when the clock of an earlier one rings meanwhile."""
    await submit(worker, b"", timeout_s=600.0)
    await submit(worker, b"", timeout_s=60.0)
    gate = tools.gate(tmp_path)
    with hurried_clock() as forward:
        long = asyncio.create_task(submit(worker, gate.code, timeout_s=600.0))
        await gate.reached()
        forward(100.0)
        await gate.open()
        await long
    with pytest.raises(TimedOut, match=r"longer than 0\.2 s"):
        await submit(worker, b"time.sleep(600)", b"", timeout_s=0.2)
    await worker.exited


async def test_the_death_of_a_worker_is_told_once_and_later(worker):
    """To the batch under way, and to one that comes too late."""
    with pytest.raises(WorkerDied, match="exit code 9"):
        await submit(worker, b"os._exit(9)", b"second")
    told: list[object] = []
    worker.submit([Invocation([], b"")], 60.0, told.append)
    assert told == []
    await asyncio.sleep(0)
    assert [type(outcome) for outcome in told] == [WorkerDied]


async def test_the_next_batch_may_follow_from_the_last_ones_end(worker):
    """`done` may submit at once."""
    seen: list[bytes] = []
    finished = asyncio.Event()

    def done(outcome: list[Answer] | WorkerDied) -> None:
        assert isinstance(outcome, list)
        seen.append(bytes(outcome[0].body))
        if len(seen) < 3:
            worker.submit([Invocation([], b"")], 60.0, done)
        else:
            finished.set()

    worker.submit([Invocation([], b"")], 60.0, done)
    await asyncio.wait_for(finished.wait(), 30)
    assert seen == [b"", b"", b""]


async def test_a_model_may_be_given_its_handler(make_stage, tools):
    """It wins over the manifest's, and that one over the image's; without any the load fails."""
    answering = "def handle(data, context): return [{!r}]"
    stage = await make_stage(answering.format("image"), handler="")
    files = {"own.py": answering.format("own"), "given.py": answering.format("given")}
    stage.model("m", {**files, "MAR-INF/MANIFEST.json": '{"model": {"handler": "own.py"}}'})
    assert (await tools.ask(await stage.load("m"))).body == b"own"
    assert (await tools.ask(await stage.load("m", handler="given.py:handle"))).body == b"given"
    beside = await stage.load("m", handler="model_handler:handle")
    assert (await tools.ask(beside)).body == b"image"
    with pytest.raises(LoadFailed, match="the model has no handler"):
        await stage.load("bare")

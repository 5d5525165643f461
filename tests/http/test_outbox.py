"""Answers that are written together: each once, to those who are still there."""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial

import pytest

from modelplex.http import outbox
from modelplex.http.messages import Data, Request
from modelplex.http.server import Reply
from tests.http.conftest import Start
from tests.http.raw import Raw
from tests.http.test_express import Held, never
from tests.http.test_server import GET, post
from tests.support.waiting import eventually

CLIENTS = 20


def _more(held: Held, count: int) -> bool:
    return len(held.replies) > count


@pytest.fixture(params=[0, 10, 1000], ids=["together", "some", "at-once"], autouse=True)
def few(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How many have to be under way for answers to wait for each other."""
    monkeypatch.setattr(outbox, "FEW", request.param)


async def test_answers_of_one_turn_reach_their_clients(start: Start, address: str) -> None:
    """Each its own, and the connections are good for another round."""
    held = Held()
    server = await start(never, express=held)
    async with AsyncExitStack() as stack:
        raws = [await stack.enter_async_context(Raw(address)) for _ in range(CLIENTS)]
        for _ in range(3):
            for number, raw in enumerate(raws):
                await raw.send(GET)
                await eventually(partial(_more, held, number))
            for number, reply in enumerate(held.replies):
                reply.send(200, b"", b"%d" % number)
            held.replies.clear()
            for number, raw in enumerate(raws):
                assert await raw.response() == (200, b"%d" % number)
            assert server.outbox.under_way == 0


async def test_a_client_that_leaves_before_its_answer_is_written(
    start: Start, address: str
) -> None:
    """Costs nobody else theirs; its reply is not told that it left, since it was given."""
    left: list[bytes] = []
    replies: list[Reply] = []

    def receive(request: Request, _: Data, reply: Reply) -> None:
        reply.on_gone = lambda: left.append(request.path)
        replies.append(reply)

    server = await start(never, express=lambda _: receive)
    async with Raw(address) as leaves, Raw(address) as stays:
        for raw in (leaves, stays):
            await raw.send(GET)
        await eventually(lambda: len(replies) == 2)
        line = replies[0].line
        assert line is not None
        for reply in replies:
            reply.send(200, b"", b"ok")
        line.transport.abort()
        assert await stays.response() == (200, b"ok")
        await leaves.rest()
    assert not left
    assert server.outbox.under_way == 0


async def test_what_is_never_answered_is_not_under_way(start: Start, address: str) -> None:
    """A client that leaves, and one whose body does not come."""
    held = Held()
    server = await start(never, express=held, request_read_timeout_s=0.1)
    async with Raw(address) as leaves, Raw(address) as dallies:
        await leaves.send(GET)
        await held.one()
        await dallies.send(post(b"body")[:-1])
        assert (await dallies.response())[0] == 408
        assert server.outbox.under_way == 1
    await eventually(lambda: server.outbox.under_way == 0)

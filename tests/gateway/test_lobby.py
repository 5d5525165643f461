"""Requests for something new are let in one by one, and what has come meanwhile in between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from modelplex.gateway.lobby import Lobby
from modelplex.gateway.passage import Passage
from modelplex.http.messages import Body, Data, Request
from modelplex.lanes.wire import Answer


class Client:
    """Where an answer would go."""

    def __init__(self) -> None:
        self.gone = False
        self.on_gone: Callable[[], None] | None = None

    def send(self, status: int, headers: bytes, body: Data) -> None:
        """Nobody answers here."""


def passage(client: Client) -> Passage:
    """A request of that client."""

    def ended(_passage: Passage, _outcome: Answer | Exception) -> None:
        raise AssertionError("nobody sent it on its way")

    request = Request("POST", b"/endpoints/e/invocations", [], Body.of(b""), "")
    return Passage(request, b"id", 0.0, client, ended)


async def turn() -> None:
    """One turn of the event loop."""
    await asyncio.sleep(0)


async def test_one_is_let_in_per_turn_of_the_loop_in_the_order_of_coming() -> None:
    """None in the call that brings it, so that what came meanwhile is served in between."""
    let_in: list[bytes] = []
    lobby = Lobby(lambda _, body: let_in.append(bytes(body)))
    for body in (b"1", b"2", b"3"):
        lobby.wait(passage(Client()), body)
    assert let_in == []
    seen = []
    for _ in range(4):
        await turn()
        seen.append(len(let_in))
    assert seen == [1, 2, 3, 3]
    assert let_in == [b"1", b"2", b"3"]


async def test_it_goes_on_when_it_was_empty() -> None:
    """The next one after all others have been let in has its turn as well."""
    let_in: list[bytes] = []
    lobby = Lobby(lambda _, body: let_in.append(bytes(body)))
    for body in (b"1", b"2"):
        lobby.wait(passage(Client()), body)
        await turn()
    assert let_in == [b"1", b"2"]


async def test_who_has_left_is_not_let_in() -> None:
    """And costs the next one nothing but a turn."""
    let_in: list[bytes] = []
    lobby = Lobby(lambda _, body: let_in.append(bytes(body)))
    client = Client()
    lobby.wait(passage(client), b"left")
    lobby.wait(passage(Client()), b"stayed")
    client.gone = True
    await turn()
    await turn()
    assert let_in == [b"stayed"]


async def test_one_that_breaks_does_not_hold_up_the_others() -> None:
    """A defect in letting one in is the loop's to report."""
    let_in: list[bytes] = []
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: reported.append(what))

    def enter(_: Passage, body: Data) -> None:
        if body == b"bad":
            raise RuntimeError("a defect")
        let_in.append(bytes(body))

    lobby = Lobby(enter)
    for body in (b"bad", b"good"):
        lobby.wait(passage(Client()), body)
    await turn()
    await turn()
    assert let_in == [b"good"]
    assert len(reported) == 1

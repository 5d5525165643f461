"""Requests whose worker is spoken to by a coroutine: each comes to an end."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from modelplex.aws.errors import ServiceError
from modelplex.core import events
from modelplex.instance.answers import Answers
from modelplex.instance.calls import Call
from modelplex.instance.requests import Requests
from modelplex.workers.invocations import Answer, Invocation


class Broken:
    """A worker that breaks in a way that nobody foresaw; and who it belongs to."""

    async def invoke(self, _: Invocation, __: float) -> Answer:
        raise ValueError("what nobody foresaw")

    def forward(self, _: str) -> Broken:
        """It has the model."""
        return self

    def answered(self, _: Broken) -> None:
        """It owes nothing more."""


async def test_a_defect_ends_its_request() -> None:
    """With a 500; and residency hears that the request is over."""
    facts: list[events.Fact] = []
    ended: asyncio.Future[Answer | ServiceError] = asyncio.get_running_loop().create_future()

    def notify(fact: events.Fact) -> None:
        facts.append(fact)
        if isinstance(fact, events.Invoked):
            requests.forward(events.Forward(fact.request, fact.model), 0.0, None)

    requests = Requests(
        notify=notify,
        residents=cast(Any, Broken()),
        answers=Answers(cast(Any, None)),
        batches=None,
        timeout_s=1.0,
        clock=lambda: 0.0,
    )
    requests.invoke(Call("m", 0.0, on_end=lambda _, outcome: ended.set_result(outcome)))
    outcome = await asyncio.wait_for(ended, 10)
    assert isinstance(outcome, Answer)
    assert outcome.status == 500
    assert facts == [events.Invoked(1, "m"), events.Answered(1)]

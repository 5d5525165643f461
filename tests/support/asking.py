"""Requests to an instance that runs in this process."""

from __future__ import annotations

import asyncio
import time

from modelplex.aws.errors import ServiceError
from modelplex.instance.agent import Agent
from modelplex.instance.calls import Call
from modelplex.workers.invocations import Answer, Invocation


async def ask(agent: Agent, model: str, invocation: Invocation) -> tuple[Answer, Call]:
    """The model's answer, and what became of the call; who cancels this leaves. ServiceError."""
    answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def end(_: Call, outcome: Answer | ServiceError) -> None:
        if answered.done():
            return
        if isinstance(outcome, ServiceError):
            answered.set_exception(outcome)
        else:
            answered.set_result(outcome)

    call = Call(model, time.monotonic(), invocation, on_end=end)
    agent.requests.invoke(call)
    try:
        return await answered, call
    except asyncio.CancelledError:
        agent.requests.abandon(call)
        raise

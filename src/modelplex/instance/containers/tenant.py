"""One model in a container, seen from the instance: what Worker is for a process of our own.

It answers as many requests at once as it is given: a container has queues of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from modelplex.instance.answers import NO_ANSWER, TIMED_OUT
from modelplex.instance.containers.container import Container
from modelplex.instance.containers.contract import Late, NoAnswer
from modelplex.instance.containers.runner import Ended
from modelplex.lanes import wire
from modelplex.workers.errors import NotBegun, TimedOut, TookTooMuch, WorkerDied
from modelplex.workers.invocations import Answer, Invocation

Leave = Callable[["Tenant"], Awaitable[int]]  # unloads; the bytes that came back


class Tenant:
    """A loaded model. Made by the pool of its container."""

    def __init__(
        self,
        container: Container,
        target: bytes,
        answer_bytes_max: int,
        size: Callable[[], int],
        leave: Leave,
        *,
        outlives_late: bool = False,
    ) -> None:
        """`target` is where its requests go. `leave` is awaited once, when it has ended.

        `outlives_late`: a missing answer is no reason to unload it.
        """
        self.exited: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        self.blameless = False  # when it has ended: it had no request then
        self._container = container
        self._target = target
        self._answer_bytes_max = answer_bytes_max
        self._size = size
        self._leave = leave
        self._outlives_late = outlives_late
        self._leaving: asyncio.Future[int] | None = None
        self._asked = 0

    @property
    def pid(self) -> int:
        """Its container's; 0 when that is not known."""
        return self._container.pid

    @property
    def busy(self) -> bool:
        """Whether it has a request to answer."""
        return self._asked > 0

    def memory_bytes(self) -> int:
        """Its part of what its container takes; 0 when it has ended."""
        return 0 if self.exited.done() else self._size()

    async def invoke(self, request: Invocation, timeout_s: float) -> Answer:
        """Have one request answered; one without an answer ends as SageMaker has it, with 0.

        Raises TimedOut, and then it has ended; WorkerDied, TookTooMuch, NotBegun when its container
        has, or when it left while it worked.
        """
        if self.exited.done():
            raise NotBegun(f"the model has left its container: {self.exited.result()}")
        packed = request.headers
        headers = wire.unpack(packed) if isinstance(packed, bytes) else packed
        asking = asyncio.ensure_future(
            self._container.contract.invoke(
                self._target, headers, request.body, timeout_s, self._answer_bytes_max
            )
        )
        self._asked += 1
        try:
            await asyncio.wait((asking, self.exited), return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                raise _death(self.exited.result())
            return asking.result()
        except Late as error:
            if self._outlives_late:
                return Answer(NO_ANSWER, "", [], TIMED_OUT.encode())
            self.end(Ended(str(error)))
            raise TimedOut(str(error)) from None
        except NoAnswer as error:
            return await self._unanswered(error)
        finally:
            self._asked -= 1
            asking.cancel()

    async def unload(self) -> int:
        """Have the container forget it; the bytes that came back."""
        self.end(Ended("unloaded"))
        assert self._leaving is not None
        return await asyncio.shield(self._leaving)

    async def kill(self, reason: str) -> None:
        """The same, for a reason."""
        self.end(Ended(reason))
        await self.unload()

    def end(self, how: Ended) -> None:
        """It answers no more: those whose requests are on their way hear so; the rest follows."""
        if self._leaving is None:
            self._leaving = asyncio.ensure_future(self._leave(self))
        if not self.exited.done():
            self.blameless = not self.busy
            self.exited.set_result(how)

    async def _unanswered(self, error: NoAnswer) -> Answer:
        """What a broken connection means: its container's end, or only a missing answer."""
        how = await self._container.settled()
        if how is None:
            return Answer(NO_ANSWER, "", [], str(error).encode())
        raise _death(by_container(how)) if error.sent else NotBegun(str(by_container(how)))


def by_container(how: Ended) -> Ended:
    """How its models ended when a container did."""
    return Ended(f"the container ended: {how}", how.out_of_memory)


def _death(how: Ended) -> WorkerDied:
    return (TookTooMuch if how.out_of_memory else WorkerDied)(str(how))

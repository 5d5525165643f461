"""One life of a container: started, found healthy, watched, ended."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, replace

from modelplex.instance.containers.contract import Contract
from modelplex.instance.containers.runner import Ended, MakeRunner, Runner, Surroundings
from modelplex.settings import Settings
from modelplex.workers.errors import StartFailed

START_PING_EVERY_S = 0.1
TAIL_LINES = 20
LAST_WORDS_MAX = 300  # characters of what it printed last, in a sentence


@dataclass(frozen=True, slots=True)
class Terms:
    """What an instance expects of its container. `log` says where the output is found."""

    variant: str
    log: str
    multi_model: bool
    health_timeout_s: float
    limits: Settings

    def unhealthy(self, why: str) -> str:
        """SageMaker's sentence for a container that did not become healthy in time."""
        return (
            f"The primary container for production variant {self.variant} did not pass the ping "
            f"health check within {self.health_timeout_s:g} s: {why or 'nothing answered'}. "
            f"See {self.log}."
        )

    def ended(self, how: Ended, last_words: str) -> str:
        """The same for one that ended before it was healthy."""
        said = f' Its last words: "{last_words}".' if last_words else ""
        return (
            f"The primary container for production variant {self.variant} did not pass the ping "
            f"health check: it ended before that ({how}).{said} See {self.log}."
        )


class Container:
    """A container that is healthy, or was. Made by `begin`; `end` comes last."""

    def __init__(self, name: str, runner: Runner, contract: Contract, limits: Settings) -> None:
        self.name = name
        self.runner = runner
        self.contract = contract
        self.ended: asyncio.Task[Ended] = asyncio.ensure_future(runner.wait())
        self._limits = limits
        self._verdict: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    @property
    def pid(self) -> int:
        """Of its first process; 0 when that is not known."""
        return self.runner.pid or 0

    def condemn(self, why: str) -> None:
        """It does not do what it should, and has to be ended."""
        if not self._verdict.done():
            self._verdict.set_result(why)

    async def over(self) -> Ended:
        """Ping it until it ends by itself, or has to be ended; how, or why."""
        watching = asyncio.ensure_future(self._watch())
        try:
            done, _ = await asyncio.wait(
                (self.ended, self._verdict, watching), return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            watching.cancel()
        if self.ended in done:
            return self.ended.result()
        why = self._verdict.result() if self._verdict in done else watching.result()
        return Ended(f"it was ended: {why}")

    async def settled(self) -> Ended | None:
        """How it has ended, if it has; waits a moment for the news."""
        await asyncio.wait([self.ended], timeout=self._limits.container_ping_timeout_s)
        if not self.ended.done():
            return None
        return Ended("it was stopped") if self.ended.cancelled() else self.ended.result()

    async def end(self, grace_s: float) -> None:
        """Stop it: SIGTERM, after `grace_s` SIGKILL. Nothing of it is left."""
        try:
            await self.runner.stop(grace_s)
        finally:
            self.ended.cancel()
            await self.contract.close()

    async def healthy(self, terms: Terms, tail: deque[str]) -> None:
        """Wait until it passes; `tail` is what it printed last. Raises StartFailed."""
        why = ""
        try:
            async with asyncio.timeout(terms.health_timeout_s):
                while why := await self._complaint(terms.multi_model):
                    await asyncio.wait([self.ended], timeout=START_PING_EVERY_S)
                    if self.ended.done():
                        last_words = tail[-1][:LAST_WORDS_MAX] if tail else ""
                        raise StartFailed(terms.ended(self.ended.result(), last_words))
        except TimeoutError:
            raise StartFailed(terms.unhealthy(why)) from None

    async def _complaint(self, multi_model: bool) -> str:
        """Why it does not pass now. The platform asks for the models too while it starts."""
        why = await self.contract.ping()
        return why or (await self.contract.lists() if multi_model else "")

    async def _watch(self) -> str:
        """Why it is not healthy any more, as soon as that is certain."""
        limits, bad = self._limits, 0
        while True:
            await asyncio.sleep(limits.container_ping_interval_s)
            why = await self.contract.ping()
            bad = bad + 1 if why else 0
            if bad >= limits.container_unhealthy_after:
                return f"{bad} bad pings in a row, the last of them: {why}"


async def begin(make: MakeRunner, place: Surroundings, terms: Terms) -> Container:
    """Start a container and wait until it is healthy.

    Raises StartFailed with a sentence. When it does, or is cancelled, nothing of it is left.
    """
    tail: deque[str] = deque(maxlen=TAIL_LINES)

    def on_output(line: str) -> None:
        tail.append(line)
        place.on_output(line)

    limits = terms.limits
    runner = make(replace(place, on_output=on_output))
    container = None
    try:
        address = await runner.start()
        contract = Contract(address, limits.container_ping_timeout_s, limits.connections_max)
        container = Container(place.instance, runner, contract, limits)
        await container.healthy(terms, tail)
    except BaseException:
        ending = container.end if container else runner.stop
        await asyncio.shield(ending(limits.unload_timeout_s))
        raise
    return container

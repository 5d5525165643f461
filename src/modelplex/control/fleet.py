"""What is observed: which instances have processes, how those ended, and what they answer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from modelplex.control.deployments import is_instance
from modelplex.control.provider import Process, Provider
from modelplex.control.pulses import Listener, Pulse
from modelplex.control.waiting import Changes
from modelplex.core import reconcile
from modelplex.core.reconcile import Ping

log = logging.getLogger(__name__)


class Fleet:
    """All instances as the provider and they themselves tell of them."""

    def __init__(
        self,
        socket_of: Callable[[str], str],
        ping_interval_s: float,
        changed: Callable[[], None],
    ) -> None:
        """`changed` is called whenever something was told that may call for action."""
        self._socket_of = socket_of
        self._ping_interval_s = ping_interval_s
        self._changed = changed
        self._listeners: dict[str, tuple[Process, Listener]] = {}
        self._ends: dict[str, reconcile.Ends] = {}
        self._told = asyncio.Event()
        self.news = Changes()  # rings when the provider has told something
        self.stopping: set[str] = set()  # their ends are ordered, and no accidents
        self.everything: Mapping[str, Process] = {}  # all that the provider told of
        self.processes: Mapping[str, Process] = {}  # the instances among them

    # -- questions -------------------------------------------------------------------------------

    def observed(self, wanted: Iterable[str], left_out: Iterable[str]) -> list[reconcile.Instance]:
        """Every instance that is wanted or has a process, but for those left out."""
        known = {*wanted, *self.processes}.difference(left_out)
        return [self._instance(each) for each in known]

    def is_healthy(self, instance: str) -> bool:
        """Whether an instance answers."""
        return self._pulse(instance).ping is Ping.HEALTHY

    def health(self, instance: str) -> str:
        """One instance's health, in a word; "Absent" while it has no process."""
        return self._pulse(instance).ping.value if instance in self._listeners else "Absent"

    async def ask(self, instance: str, target: str) -> Any | None:
        """An instance's own answer to a GET, or None."""
        heard = self._listeners.get(instance)
        return await heard[1].ask(target) if heard else None

    async def tell(self, instance: str, target: str, document: object) -> bool:
        """PUT a document to an instance; whether it took it."""
        heard = self._listeners.get(instance)
        return heard is not None and await heard[1].call("PUT", target, document) is not None

    # -- news ------------------------------------------------------------------------------------

    async def watch(self, provider: Provider) -> None:
        """Take in what the provider tells, until cancelled."""
        async for everything in provider.watch():
            processes = {name: each for name, each in everything.items() if is_instance(name)}
            for instance, process in processes.items():
                self._note_end(instance, process)
            self.everything, self.processes = everything, processes
            self._told.set()
            self.news.ring()
            self._changed()

    async def meet(self) -> None:
        """Return when the provider has told what runs, and each of them has been pinged once."""
        await self._told.wait()
        await self.listen()
        await asyncio.gather(*(heard.heard.wait() for _, heard in self._listeners.values()))

    async def listen(self) -> None:
        """Have one listener per running process, and none for what is gone."""
        for instance, (process, listener) in list(self._listeners.items()):
            if process != self.processes.get(instance):
                del self._listeners[instance]
                await listener.close()
        for instance, process in self.processes.items():
            if process.running and instance not in self._listeners:
                socket = self._socket_of(instance)
                listener = Listener(socket, self._ping_interval_s, self._changed)
                self._listeners[instance] = (process, listener)

    async def close(self) -> None:
        """Stop listening."""
        await asyncio.gather(*(heard.close() for _, heard in self._listeners.values()))

    def count_end(
        self, instance: str, started_at: float, reason: str, for_good: bool = False
    ) -> None:
        """Remember that an instance ended, or could not even be started, perhaps `for_good`."""
        before = self._ends.get(instance, reconcile.Ends())
        self._ends[instance] = before.another(started_at, time.time(), reason, for_good)
        log.warning("instance.ended", extra={"instance": instance, "reason": reason})

    def forget(self, instance: str) -> None:
        """Nobody wants it any more, nor its past."""
        self._ends.pop(instance, None)

    def _note_end(self, instance: str, process: Process) -> None:
        """Count an end that the provider tells of for the first time, and that nobody ordered."""
        ordered = instance in self.stopping
        if not (process.running or ordered or process == self.processes.get(instance)):
            self.count_end(instance, process.started_at, process.last_exit or "it ended")

    def _pulse(self, instance: str) -> Pulse:
        heard = self._listeners.get(instance)
        return heard[1].pulse if heard else Pulse()

    def _instance(self, instance: str) -> reconcile.Instance:
        process, pulse = self.processes.get(instance), self._pulse(instance)
        if process is None:
            state = reconcile.Process.ABSENT
        else:
            state = reconcile.Process.RUNNING if process.running else reconcile.Process.EXITED
        return reconcile.Instance(
            id=instance,
            process=state,
            ping=pulse.ping,
            reason=pulse.reason,
            started_at=process.started_at if process else 0.0,
            silent_for_s=pulse.silent_for_s,
            ends=self._ends.get(instance, reconcile.Ends()),
        )

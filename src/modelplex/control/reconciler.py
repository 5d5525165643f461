"""The shell around `core.reconcile.plan`: it makes promises true, and says so when they are.

It wakes at every change (a request, a process that ended, an instance that became healthy), shows
the plan what is wanted and what is observed, and carries the actions out. Between changes it wakes
only for what depends on time: deadlines and pauses before restarts.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from modelplex.control import deployments, rules
from modelplex.control.builds import Builds
from modelplex.control.deployments import Deployment, Variant
from modelplex.control.fleet import Fleet
from modelplex.control.provider import CannotStart, Provider, ProviderFailed
from modelplex.control.records import Document, Records
from modelplex.control.snapshots import Snapshots
from modelplex.control.specs import Specs
from modelplex.core import reconcile
from modelplex.settings import Settings

log = logging.getLogger(__name__)

_TICK_S = 0.5  # longest time between two looks at the clock


class Reconciler:
    """Keeps the promises about all endpoints of one realm."""

    def __init__(
        self,
        settings: Settings,
        records: Records,
        provider: Provider,
        specs: Specs,
        builds: Builds,
    ) -> None:
        self.snapshots = Snapshots()
        self.fleet = Fleet(specs.socket, settings.ping_interval_s, self.wake)
        self._settings = settings
        self._records = records
        self._provider = provider
        self._specs = specs
        self._builds = builds
        self._awaiting_image: set[str] = set()  # instances whose start is under way so far
        self._woken = asyncio.Event()
        self._orders: dict[str, asyncio.Task[object]] = {}  # by instance, or endpoint to forget

    def wake(self) -> None:
        """Look again: something may have changed."""
        self._woken.set()

    # -- the loop --------------------------------------------------------------------------------

    async def run(self) -> None:
        """Reconcile until cancelled. Instances go on when this ends."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.fleet.watch(self._provider))
                group.create_task(self._loop())
        finally:
            for task in self._orders.values():
                task.cancel()
            await asyncio.gather(*self._orders.values(), return_exceptions=True)
            await self._builds.close()
            await self.fleet.close()

    async def _loop(self) -> None:
        await self.fleet.meet()  # before that, everything would look absent or ill
        while True:
            self._woken.clear()
            await self.fleet.listen()
            try:
                self._step()
            except sqlite3.OperationalError:  # a full disk, most likely: what runs runs on
                log.exception("records.failed")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TICK_S):
                    await self._woken.wait()

    def _step(self) -> None:
        wanted = {each.name: each for each in self._deployments()}
        ids = [instance for each in wanted.values() for instance in each.instances]
        self._give_up_waiting(wanted)
        actions = reconcile.plan(
            wanted.values(),
            self.fleet.observed(ids, self._orders),
            time.time(),
            self._settings.restart_delay_max_s,
        )
        for action in actions:
            self._perform(action, wanted)
        self._publish()

    def _give_up_waiting(self, wanted: Mapping[str, Deployment]) -> None:
        """Have no instance wait for its image that nobody wants to start any more."""
        alive = (name for each in wanted.values() if each.is_alive for name in each.instances)
        for instance in self._awaiting_image.difference(alive):
            self._orders[instance].cancel()

    def _deployments(self) -> list[Deployment]:
        return deployments.all_of(self._records, self._settings)

    # -- what is done -----------------------------------------------------------------------------

    def _perform(self, action: reconcile.Action, wanted: Mapping[str, Deployment]) -> None:
        match action:
            case reconcile.StartInstance(instance):
                self._order(instance, self._start(wanted, instance))
            case reconcile.StopInstance(instance):
                self._order(instance, self._stop(instance))
            case reconcile.SetStatus(endpoint, status, reason):
                self._set_status(wanted[endpoint], status, reason)
            case reconcile.Forget(endpoint):
                self._order(endpoint, self._forget(wanted[endpoint]))

    def _order(self, subject: str, work: Coroutine[Any, Any, object]) -> None:
        """Have work done in the background, one piece per subject at a time: what the plan asks
        for again meanwhile is under way already."""
        if subject in self._orders:
            work.close()
            return
        task = asyncio.create_task(work)
        self._orders[subject] = task
        task.add_done_callback(lambda done: self._ordered(subject, done))

    def _ordered(self, subject: str, done: asyncio.Task[object]) -> None:
        del self._orders[subject]
        if done.cancelled():
            self.wake()
            return
        if (error := done.exception()) is not None:  # ours; the plan asks again at the next tick
            log.error("order.failed", exc_info=error, extra={"subject": subject})
            return
        self.wake()

    async def _start(self, wanted: Mapping[str, Deployment], instance: str) -> None:
        deployment, variant = next(
            (deployment, variant)
            for deployment in wanted.values()
            for variant in deployment.variants
            if instance in variant.instances
        )
        log.info("instance.start", extra={"instance": instance, "endpoint": deployment.name})
        before = self.fleet.processes.get(instance)
        try:
            await self._await_image(instance, deployment, variant)
            spec = self._specs.document(deployment, variant, instance)
            spec["rules"] = rules.of(self._records, deployment.record.arn)
            await self._provider.start(spec)
        except ProviderFailed as error:
            for_good = isinstance(error, CannotStart)
            self.fleet.count_end(instance, time.time(), str(error), for_good)
        else:  # until that is told, the plan would ask for it again
            await self._await_news(lambda: self.fleet.processes.get(instance) == before)

    async def _await_image(self, instance: str, deployment: Deployment, variant: Variant) -> None:
        """Have the image built, if need be; the clocks of the instance's start tick from then on.

        Raises CannotStart.
        """
        self._awaiting_image.add(instance)
        try:
            await self._builds.ensure(variant.image, deployment.name)
        finally:
            self._awaiting_image.discard(instance)

    async def _stop(self, instance: str, forget: bool = False) -> bool:
        """End an instance; False, after a pause, if that did not succeed."""
        log.info("instance.stop", extra={"instance": instance, "forget": forget})
        self.fleet.stopping.add(instance)
        try:
            await self._provider.stop(instance, forget)
            await self._await_news(lambda: instance in self.fleet.processes)
        except ProviderFailed as error:
            log.warning("instance.stop_failed", extra={"instance": instance, "reason": str(error)})
            await asyncio.sleep(_TICK_S)
            return False
        finally:
            self.fleet.stopping.discard(instance)
        return True

    async def _await_news(self, pending: Callable[[], bool]) -> None:
        await self.fleet.news.hold(pending, _TICK_S)

    def _set_status(self, deployment: Deployment, status: str, reason: str) -> None:
        """Note a status and publish it, in one go: an endpoint can be invoked as soon as anyone is
        told that it is in service."""
        with self._records.transaction():
            self._records.set_status(deployment.record.arn, status, reason)
        keys = {"endpoint": deployment.name, "status": status, "reason": reason}
        log.info("endpoint.status", extra=keys)
        self._publish()

    async def _forget(self, deployment: Deployment) -> None:
        """Remove everything of an endpoint, its record last: a restart in between goes on here."""
        stops = [self._stop(each, forget=True) for each in deployment.instances]
        if not all(await asyncio.gather(*stops)):
            return
        with self._records.transaction():
            self._records.delete(deployment.record.arn)
        for instance in deployment.instances:
            self.fleet.forget(instance)
        log.info("endpoint.forgotten", extra={"endpoint": deployment.name})
        self._publish()

    def _publish(self) -> None:
        self.snapshots.publish({each.name: self._shown(each) for each in self._deployments()})

    def _shown(self, deployment: Deployment) -> Document:
        variants = [self._shown_variant(variant) for variant in deployment.variants]
        return {
            "arn": deployment.record.arn,
            "status": deployment.status,
            "variants": variants,
        }

    def _shown_variant(self, variant: Variant) -> Document:
        return {
            "name": variant.name,
            "weight": variant.weight,
            "multi_model": variant.multi_model,
            "instances": [
                {
                    "id": each,
                    "socket": self._specs.socket(each),
                    "healthy": self.fleet.is_healthy(each),
                }
                for each in variant.instances
            ],
        }

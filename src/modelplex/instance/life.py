"""An instance put together, from Starting to Healthy or Failed, and taken apart again.

Its memory budget is the spec's, less what the zygote takes: the container's own share. This process
itself is the platform's and not counted, as SageMaker does not count its agents.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any

from modelplex.aws.locations import Location, parse_model_data_url
from modelplex.core.events import Configured, Resized, RolledBack, Wanted
from modelplex.core.limits import Limits
from modelplex.core.residency import Residency
from modelplex.instance.agent import Agent
from modelplex.instance.answers import Answers
from modelplex.instance.artifacts import preparation
from modelplex.instance.artifacts.child import Ended
from modelplex.instance.artifacts.fetcher import Fetcher
from modelplex.instance.artifacts.places import Found
from modelplex.instance.artifacts.refresh import Refresher
from modelplex.instance.artifacts.wire import Storage
from modelplex.instance.containers.choice import Containers, containers
from modelplex.instance.containers.fullness import Fullness
from modelplex.instance.invocations import Invocations
from modelplex.instance.logs import explain
from modelplex.instance.logs.history import History
from modelplex.instance.logs.journal import Journal
from modelplex.instance.logs.recorder import Recorder
from modelplex.instance.logs.streams import Logs, stream_name
from modelplex.instance.spec import Spec, Wishes
from modelplex.settings import MIB
from modelplex.workers import cgroups
from modelplex.workers.environments import Environments
from modelplex.workers.errors import StartFailed
from modelplex.workers.image import ImageSpec
from modelplex.workers.limits import PoolLimits
from modelplex.workers.pools import Pools

ANSWERS_PER_VCPU, ANSWERS_MIN = 16, 64  # handlers may wait for others: that costs no vCPU
AHEAD = 8  # requests that a brisk worker has at once
UNMEASURED = 0.02  # of the memory; 224 workers were once 0.7 % above what was known of them
KILL_RESERVE_S = 5.0  # of the stop's time, for killing what does not end by itself


class Status(Enum):
    """What `/ping` says. Failed is final."""

    STARTING = "Starting"
    HEALTHY = "Healthy"
    FAILED = "Failed"


class Instance:
    """Everything one instance is made of. `agent` and `invocations` come with `start`."""

    def __init__(self, spec: Spec, on_defect: Callable[[str], None]) -> None:
        """`on_defect` is called when the process should end, since it cannot go on rightly."""
        self.spec = spec
        self.reason = ""  # why it is Failed
        self.base_bytes = 0  # what the zygote takes
        self.agent: Agent | None = None
        self.invocations: Invocations | None = None
        self._on_defect = on_defect
        self._status = Status.STARTING
        stream = stream_name(spec.variant, spec.id)
        self._logs = Logs(spec.log_folder, stream, spec.limits.log_file_bytes_max)
        self.history = History(Journal(time.time), self._logs)
        fact_bytes = spec.limits.fact_log_mib * MIB
        self._recorder = Recorder(spec.folder / "facts", spec.id, fact_bytes)
        wanted = spec.limits.cgroups == "auto"
        self._cgroup = cgroups.open_instance(spec.memory_bytes) if wanted else None
        self._pool = self._make_pool()
        self._fetcher = self._make_fetcher()
        self._fullness = Fullness()
        self._refresher: Refresher | None = None
        self._background: list[asyncio.Task[None]] = []
        self._rejected: set[tuple[str, str]] = set()  # as residency knows already

    def _make_pool(self) -> Pools | Containers:
        spec, image = self.spec, self.spec.image
        if not isinstance(image, ImageSpec):
            write = partial(self._logs.write, None)
            tell, fail = self.history.platform, self._fail
            return containers(spec, self._cgroup, write, tell, fail)
        environment = spec.container_environment()
        return Pools(
            image,
            environment,
            lambda model, line: self._logs.write(model or None, line),
            _pool_limits(spec, self._cgroup),
            image.folder / "learned.json",
            Environments(spec.folder / "environments", image.python, environment),
        )

    def _make_fetcher(self) -> Fetcher:
        """With a way to have artifacts prepared, for images that do so."""
        spec, prepare = self.spec, None
        image = spec.image
        if isinstance(self._pool, Pools) and isinstance(image, ImageSpec) and image.prepare:
            prepare = preparation.by(self._pool, spec.limits.model_load_timeout_s)
        return Fetcher(Storage.of(spec, prepare is not None), spec.folder, prepare)

    @property
    def status(self) -> Status:
        """A single-model endpoint is Healthy from when its model is loaded."""
        ready = self.agent is not None and (self.spec.multi_model or bool(self.agent.workers))
        if self._status is Status.STARTING and ready:
            self._status = Status.HEALTHY
        return self._status

    async def explain(self, model: str) -> dict[str, Any] | None:
        """Where a model is and why; None before there are any."""
        if self.agent is None:
            return None
        story = await asyncio.to_thread(explain.read, self._recorder.segments(), model)
        return explain.of_model(self.agent.residency, story)

    @property
    def zygote_pid(self) -> int | None:
        """The process that new workers are forked from, or a container's first."""
        return self._pool.zygote_pid

    async def start(self) -> None:
        """Bring up the zygote and what the disk holds, and let requests in."""
        try:
            shutil.rmtree(self.spec.temporary, ignore_errors=True)
            self.spec.temporary.mkdir(mode=0o700, parents=True)
            location = parse_model_data_url(self.spec.model_data_url)
            self._fetcher.start()
            await self._pool.start()
            self.base_bytes = self._pool.base_bytes()
            self._open(location, await self._fetcher.recovered())
        except (StartFailed, Ended, ValueError, OSError) as error:
            self._fail(str(error))

    async def stop(self) -> None:
        """End all workers; requests are over by now."""
        for task in self._background:
            task.cancel()
        if self.agent is not None:
            self.agent.close()
        self._fetcher.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._pool.close(), self._close_timeout_s())
        if self._cgroup is not None:
            cgroups.close_instance(self._cgroup)
        self.history.platform("Instance stopped.")
        self._logs.close()

    def _close_timeout_s(self) -> float:
        """A container may take its time after SIGTERM; workers are only killed."""
        grace_s = 0.0 if isinstance(self._pool, Pools) else self.spec.limits.stop_timeout_s
        return grace_s + KILL_RESERVE_S

    def obey(self, wishes: Wishes) -> bool:
        """Follow what the owner wants from now on; False before there is anything to follow it."""
        if self.agent is None or self._refresher is None:
            return False
        self._refresher.rules = wishes.rules
        self.agent.notify(Configured(wishes.rules))
        for model, version in wishes.rejected:
            if (model, version) not in self._rejected:
                self.agent.notify(RolledBack(model, version))
        self._rejected = set(wishes.rejected)
        return True

    def _open(self, location: Location, found: Mapping[str, Found]) -> None:
        """Raises ValueError where the image leaves no memory."""
        spec, only_model = self.spec, None if self.spec.multi_model else _archive_name(location)
        answers = Answers(spec)
        self.agent = self._make_agent(answers)
        self.agent.recover(found)
        self.invocations = Invocations(
            agent=self.agent,
            answers=answers,
            journal=self.history.journal,
            location=location,
            only_model=only_model,
            limits=spec.limits,
        )
        refresher = self._refresher = self._make_refresher(self.agent)
        self._background.append(asyncio.create_task(self._sample(self.agent)))
        self._background.append(asyncio.create_task(refresher.run()))
        self.obey(spec.wishes)
        if only_model is not None:
            self.agent.notify(Wanted(only_model))
        self.history.platform(
            f"Instance started: {spec.memory_bytes} bytes of memory, of which the image takes "
            f"{self.base_bytes}; {spec.disk_bytes} bytes of disk; {spec.vcpus:g} vCPUs."
        )

    def _make_agent(self, answers: Answers) -> Agent:
        return Agent(
            residency=Residency(_residency_limits(self.spec, self.base_bytes)),
            pool=self._pool,
            fetcher=self._fetcher,
            answers=answers,
            history=self.history,
            recorder=self._recorder,
            limits=replace(self.spec.limits, model_load_timeout_s=self.spec.load_timeout_s),
            batch_max=self.spec.batched,
            on_give_up=self._fail,
            on_full=self._container_is_full,
            on_defect=self._on_defect,
        )

    def _make_refresher(self, agent: Agent) -> Refresher:
        return Refresher(
            residency=agent.residency,
            notify=agent.notify,
            ask=self._fetcher.version,
            history=self.history,
            interval_s=self.spec.limits.refresh_interval_s,
            draw=random.random,
        )

    def _fail(self, reason: str) -> None:
        if self.status is Status.STARTING:
            self._status, self.reason = Status.FAILED, reason
            self.history.platform(f"Instance failed: {reason}")

    async def _sample(self, agent: Agent) -> None:
        """For ever: measure the workers and the zygote, whose sum is what has to fit.

        The zygote grows as it learns what models import, and shrinks as more workers share that.
        """
        while True:
            await asyncio.sleep(self.spec.limits.sample_interval_s)
            with contextlib.suppress(OSError):  # no descriptor to read /proc with: the next time
                await agent.sample()
                self.base_bytes = self._pool.base_bytes() or self.base_bytes
            agent.notify(Resized(self._for_models()))

    def _container_is_full(self, model: str) -> None:
        """A container has said 507 to a load: a worker would only have reached its promise."""
        if self.agent is None or isinstance(self._pool, Pools):
            return
        memory, whole = self.agent.residency.memory, self._whole()
        promised = memory.of(model)
        self._fullness.refused(memory.used_bytes, promised, whole, time.monotonic())
        self.agent.notify(Resized(self._for_models()))

    def _for_models(self) -> int:
        """The memory for all models, as far as it is known to be there."""
        return self._fullness.limit(self._whole(), time.monotonic())

    def _whole(self) -> int:
        return _for_models(self.spec.memory_bytes, self.base_bytes)


def _archive_name(location: Location) -> str:
    """The name of a single-model endpoint's model: its archive's."""
    return str(location).rpartition("/")[2]


def _ahead(spec: Spec) -> int:
    """Only a worker of one model that answers one request at a time has a next one to find."""
    alone = isinstance(spec.image, ImageSpec) and spec.batched == 1 and spec.models_per_worker == 1
    return AHEAD if alone else 1


def _residency_limits(spec: Spec, base_bytes: int) -> Limits:
    """Raises ValueError when the image alone fills the instance."""
    limits = spec.limits
    if base_bytes >= spec.memory_bytes:
        raise ValueError(
            f"The image alone takes {base_bytes} bytes of memory and the instance has "
            f"{spec.memory_bytes}. Choose a larger instance type."
        )
    answers_max = limits.answers_max or max(ANSWERS_MIN, int(ANSWERS_PER_VCPU * spec.vcpus))
    return Limits(
        memory_bytes=_for_models(spec.memory_bytes, base_bytes),
        disk_bytes=spec.disk_bytes,
        fetches_max=limits.fetches_max,
        loads_max=spec.loads_max,
        model_ready_timeout_s=limits.model_ready_timeout_s,
        model_load_timeout_s=spec.load_timeout_s,
        queue_per_model_max=limits.queue_per_model_max,
        queue_max=limits.queue_max,
        queue_wait_max_s=limits.queue_wait_max_s,
        memory_guess_bytes=limits.memory_guess_bytes,
        cache_enabled=spec.cached,
        answers_max=answers_max,
        concurrency=_concurrency(spec, answers_max),
        concurrency_brisk=_ahead(spec),
        policy=limits.eviction_policy,
        quarantine_after=limits.quarantine_after,
        quarantine_max_s=limits.quarantine_max_s,
        hot_wait_s=limits.hot_wait_s,
        models_per_worker=spec.models_per_worker if spec.multi_model else 1,
        patience_s=limits.patience_s,
    )


def _concurrency(spec: Spec, answers_max: int) -> int:
    """Requests that a model may be given at once. They gather before a worker of ours; a container
    queues them itself, and there one model must not have all that the instance works on.
    """
    if isinstance(spec.image, ImageSpec):
        return spec.batched
    return max(1, answers_max // 2) if spec.multi_model else answers_max


def _for_models(memory_bytes: int, base_bytes: int) -> int:
    """What models may take, with room for what they grow between two measurements."""
    return max(1, int((memory_bytes - base_bytes) * (1 - UNMEASURED)))


def _pool_limits(spec: Spec, cgroup: Path | None) -> PoolLimits:
    limits = spec.limits
    return PoolLimits(
        start_timeout_s=limits.startup_timeout_s,
        unload_timeout_s=limits.unload_timeout_s,
        memory_bytes_max=spec.memory_bytes,
        obey_permissions=spec.shares_identical,
        cgroup=cgroup,
        spare=True,
        body_bytes_max=limits.body_bytes_max,
        response_bytes_max=limits.response_bytes_max,
        log_lines_max=limits.model_log_lines_max,
        restart_delay_max_s=limits.restart_delay_max_s,
    )

"""An instance put together, from Starting to Healthy or Failed, and taken apart again.

Its memory budget is the spec's, less what the zygote takes: the container's own share. This process
itself is the platform's and not counted, as SageMaker does not count its agents.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import Callable
from enum import Enum

from modelplex.aws.locations import Location, join, parse_model_data_url
from modelplex.core.events import Recovered, Resized, Wanted
from modelplex.core.limits import Limits
from modelplex.core.residency import Residency
from modelplex.instance.agent import Agent
from modelplex.instance.answers import Answers
from modelplex.instance.artifacts import Artifacts
from modelplex.instance.history import History
from modelplex.instance.invocations import Invocations
from modelplex.instance.journal import Journal
from modelplex.instance.logs import Logs, stream_name
from modelplex.instance.spec import Spec
from modelplex.instance.store import Store
from modelplex.workers.environments import Environments
from modelplex.workers.errors import StartFailed
from modelplex.workers.limits import PoolLimits
from modelplex.workers.pools import Pools

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
        environment = spec.container_environment()
        self._pool = Pools(
            spec.image,
            environment,
            lambda model, line: self._logs.write(model or None, line),
            _pool_limits(spec),
            spec.image.folder / "learned.json",
            Environments(spec.folder / "environments", spec.image.python, environment),
        )
        self._sampling: asyncio.Task[None] | None = None

    @property
    def status(self) -> Status:
        """A single-model endpoint is Healthy from when its model is loaded."""
        ready = self.agent is not None and (self.spec.multi_model or bool(self.agent.workers))
        if self._status is Status.STARTING and ready:
            self._status = Status.HEALTHY
        return self._status

    @property
    def zygote_pid(self) -> int | None:
        """The process that new workers are forked from."""
        return self._pool.zygote_pid

    async def start(self) -> None:
        """Bring up the zygote and what the disk holds, and let requests in."""
        try:
            shutil.rmtree(self.spec.temporary, ignore_errors=True)
            self.spec.temporary.mkdir(mode=0o700, parents=True)
            location = parse_model_data_url(self.spec.model_data_url)
            await self._pool.start()
            self.base_bytes = self._pool.base_bytes()
            self._open(location)
        except (StartFailed, ValueError, OSError) as error:
            self._fail(str(error))

    async def stop(self) -> None:
        """End all workers; requests are over by now."""
        if self._sampling is not None:
            self._sampling.cancel()
        if self.agent is not None:
            self.agent.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._pool.close(), KILL_RESERVE_S)
        self.history.platform("Instance stopped.")
        self._logs.close()

    def _open(self, location: Location) -> None:
        spec, only_model = self.spec, None if self.spec.multi_model else _archive_name(location)
        answers = Answers(spec)
        self.agent = self._make_agent(location, answers)
        self.invocations = Invocations(
            agent=self.agent,
            answers=answers,
            journal=self.history.journal,
            location=location,
            only_model=only_model,
            limits=spec.limits,
        )
        self._sampling = asyncio.create_task(self._sample(self.agent))
        if only_model is not None:
            self.agent.notify(Wanted(only_model))
        self.history.platform(
            f"Instance started: {spec.memory_bytes} bytes of memory, of which the image takes "
            f"{self.base_bytes}; {spec.disk_bytes} bytes of disk; {spec.vcpus:g} vCPUs."
        )

    def _make_agent(self, location: Location, answers: Answers) -> Agent:
        """Raises ValueError where the image leaves no memory."""

        def locate(model: str) -> Location:
            return join(location, model) if self.spec.multi_model else location

        store = Store(self.spec.s3, self.spec.file_roots)
        artifacts = Artifacts(self.spec.folder / "disk", store, locate, self.spec.limits)
        agent = Agent(
            residency=Residency(_residency_limits(self.spec, self.base_bytes)),
            pool=self._pool,
            artifacts=artifacts,
            answers=answers,
            history=self.history,
            limits=self.spec.limits,
            on_give_up=self._fail,
            on_defect=self._on_defect,
        )
        for model, size in artifacts.recover().items():
            agent.notify(Recovered(model, size))
        return agent

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
            agent.notify(Resized(max(1, self.spec.memory_bytes - self.base_bytes)))


def _archive_name(location: Location) -> str:
    """The name of a single-model endpoint's model: its archive's."""
    return str(location).rpartition("/")[2]


def _residency_limits(spec: Spec, base_bytes: int) -> Limits:
    """Raises ValueError when the image alone fills the instance."""
    limits = spec.limits
    if base_bytes >= spec.memory_bytes:
        raise ValueError(
            f"The image alone takes {base_bytes} bytes of memory and the instance has "
            f"{spec.memory_bytes}. Choose a larger instance type."
        )
    return Limits(
        memory_bytes=spec.memory_bytes - base_bytes,
        disk_bytes=spec.disk_bytes,
        fetches_max=limits.fetches_max,
        loads_max=spec.loads_max,
        model_ready_timeout_s=limits.model_ready_timeout_s,
        model_load_timeout_s=limits.model_load_timeout_s,
        queue_per_model_max=limits.queue_per_model_max,
        queue_max=limits.queue_max,
        memory_guess_bytes=limits.memory_guess_bytes,
        cache_enabled=spec.cached,
    )


def _pool_limits(spec: Spec) -> PoolLimits:
    limits = spec.limits
    return PoolLimits(
        start_timeout_s=limits.startup_timeout_s,
        unload_timeout_s=limits.unload_timeout_s,
        memory_bytes_max=spec.memory_bytes,
        body_bytes_max=limits.body_bytes_max,
        response_bytes_max=limits.response_bytes_max,
        log_lines_max=limits.model_log_lines_max,
        restart_delay_max_s=limits.restart_delay_max_s,
    )

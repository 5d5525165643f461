"""From the spec of an instance to its container: what it is put into, and what runs it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from modelplex.instance.containers.command_runner import CommandRunner
from modelplex.instance.containers.container import Terms
from modelplex.instance.containers.engine_runner import EngineRunners
from modelplex.instance.containers.images import CommandImage, OciImage
from modelplex.instance.containers.pool import ContainerPool
from modelplex.instance.containers.runner import MakeRunner, Surroundings
from modelplex.instance.containers.single import SingleContainer
from modelplex.instance.spec import Spec
from modelplex.settings import Settings
from modelplex.workers.image import ImageSpec
from modelplex.workers.limits import PoolLimits

Containers = ContainerPool | SingleContainer


def containers(
    spec: Spec,
    cgroup: Path | None,
    write: Callable[[str], None],
    tell: Callable[[str], None],
    on_failed: Callable[[str], None],
) -> Containers:
    """Of an instance. `write` hears what the container prints, `tell` what happens to it, and
    `on_failed` why a single-model container cannot be started."""
    image = spec.image
    assert not isinstance(image, ImageSpec), "handlers have no container"
    make, place, terms = _runners(image, spec.limits), _place(spec, cgroup, write), _terms(spec)
    if spec.multi_model:
        return ContainerPool(make, place, terms, tell)
    return SingleContainer(make, place, terms, on_failed)


def _runners(image: CommandImage | OciImage, limits: Settings) -> MakeRunner:
    if isinstance(image, OciImage):
        return EngineRunners(image, limits.image_pull_timeout_s)
    output = PoolLimits(log_lines_max=limits.model_log_lines_max)
    return partial(CommandRunner, image, output)


def _place(spec: Spec, cgroup: Path | None, write: Callable[[str], None]) -> Surroundings:
    return Surroundings(
        instance=spec.id,
        environment=spec.container_environment(),
        memory_bytes=spec.memory_bytes,
        vcpus=spec.vcpus,
        models=spec.folder / "disk" / "models",
        model=None,
        scratch=spec.temporary,
        on_output=write,
        cgroup=cgroup,
    )


def _terms(spec: Spec) -> Terms:
    return Terms(
        variant=spec.variant,
        log=f"log group {spec.log_group}, log stream {spec.log_stream}",
        multi_model=spec.multi_model,
        health_timeout_s=spec.health_timeout_s,
        limits=spec.limits,
    )

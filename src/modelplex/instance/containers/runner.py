"""What an instance wants of whatever runs a container: a process of its own, or an engine.

A Runner is for one life: `start`, then `wait`, then `stop`, also after a start that failed. For
another life there is another Runner.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

MODELS_PATH = Path("/opt/ml/models")  # where the contract has all models: ID/model in it
MODEL_PATH = Path("/opt/ml/model")  # and the only one of a single-model container


@dataclass(frozen=True, slots=True)
class Ended:
    """How a container ended, for people: "exit code 3", "killed by SIGKILL"."""

    text: str
    out_of_memory: bool = False

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a container is put into. Paths are the instance's."""

    instance: str  # its id, unique on this machine; a second container at a time has "-2" after it
    environment: dict[str, str]  # of the image, the model and SageMaker; without ports
    memory_bytes: int
    vcpus: float
    models: Path  # the folder of all artifacts: ID/model in it; seen as MODELS_PATH, read-only
    model: Path | None  # of a single-model container; seen as MODEL_PATH, read-only
    scratch: Path  # an empty folder that lasts as long as the instance
    on_output: Callable[[str], None]  # hears every line that it prints
    cgroup: Path | None  # the instance's memory cgroup; None where those are not writable


class Runner(Protocol):
    """One life of a container."""

    @property
    def pid(self) -> int | None:
        """Of its first process, as this machine numbers it; None before `start`."""

    async def start(self) -> str:
        """Run `serve`; the address for `http.client.Client`, where nobody may listen yet.

        Raises workers.errors.StartFailed with a sentence. When cancelled, or when it raises,
        `stop` still has to be called.
        """

    async def wait(self) -> Ended:
        """Return when it has ended, whoever ended it; may be called by several at once."""

    async def stop(self, grace_s: float) -> None:
        """SIGTERM, after `grace_s` SIGKILL. Nothing of it is left. May be called twice."""

    async def memory_bytes(self) -> int:
        """All that it takes now, cached files left out; 0 when that is not known."""

    def path(self, folder: Path) -> str:
        """Where a folder below `Surroundings.models`, or its `model`, lies for the container."""


MakeRunner = Callable[[Surroundings], Runner]

"""What makes instances: the one thing that the reconciler asks of the world around it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from modelplex.control.records import Document


class ProviderFailed(Exception):
    """The provider did not do what it was asked for; the message says why. Later it may."""


class CannotStart(ProviderFailed):
    """An instance cannot be started, and trying again will not help."""


@dataclass(frozen=True, slots=True)
class Process:
    """What the provider knows about one instance's process."""

    running: bool  # or on its way to its end, but there
    pid: int | None = None
    started_at: float = 0.0  # Unix seconds
    last_exit: str | None = None  # how it ended, in words, once it has


class Provider(Protocol):
    """Starts and stops instances and tells which run. Instances outlive their watchers."""

    async def start(self, spec: Document) -> None:
        """Have the instance of this spec run; one that already does is left alone.

        Raises ProviderFailed.
        """

    async def stop(self, instance: str, forget: bool) -> None:
        """Return when the instance is gone, also if it never was. With `forget` nothing of it is
        left, its folder of artifacts neither. Raises ProviderFailed."""

    def watch(self) -> AsyncIterator[Mapping[str, Process]]:
        """All processes by name, an instance's by its id: at once, then at every change. Does not
        end. Other processes of the platform may be among them."""

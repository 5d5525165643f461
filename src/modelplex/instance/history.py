"""Tells what happened on the instance to those who ask: the journal, the log stream, stderr."""

from __future__ import annotations

import logging
from typing import Any

from modelplex.core.events import Drop, Reason, Unload
from modelplex.instance.journal import Journal
from modelplex.instance.logs import Logs

log = logging.getLogger(__name__)

MIB = 1024 * 1024
WHY = {
    Reason.MEMORY: "to make room in memory",
    Reason.DISK: "to make room on the disk",
    Reason.UNCACHED: "since ModelCacheSetting is Disabled",
    Reason.OVER_BUDGET: "since models have grown beyond the budget",
}


class History:
    """One method per kind of event. Bytes and seconds are what was measured."""

    def __init__(self, journal: Journal, logs: Logs) -> None:
        self.journal = journal
        self.logs = logs

    def fetched(self, model: str, disk_bytes: int, seconds: float) -> None:
        """The artifact is on the disk."""
        self._note("fetched", model, disk_bytes=disk_bytes, seconds=round(seconds, 4))
        self._say(f"Fetched model {model}: {_mib(disk_bytes)} in {seconds:.3f} s.")

    def loaded(self, model: str, memory_bytes: int, seconds: float, pid: int) -> None:
        """The worker is ready."""
        self._note("loaded", model, memory_bytes=memory_bytes, seconds=round(seconds, 4), pid=pid)
        self._say(f"Loaded model {model}: {_mib(memory_bytes)} in {seconds:.3f} s, pid {pid}.")

    def unloaded(self, order: Unload, freed_bytes: int, used_before: int, used_after: int) -> None:
        """The worker is gone. `used` counts what all loaded and loading models hold."""
        self._note(
            "unloaded",
            order.model,
            reason=order.reason.value,
            for_model=order.for_model,
            freed_bytes=freed_bytes,
            used_bytes_before=used_before,
            used_bytes_after=used_after,
        )
        why = _why(order.reason, order.for_model)
        self._say(f"Unloaded model {order.model} {why}: {_mib(freed_bytes)} freed.")

    def dropped(self, order: Drop) -> None:
        """The artifact is gone from the disk."""
        self._note("dropped", order.model, reason=order.reason.value, for_model=order.for_model)
        self._say(f"Removed model {order.model} from disk {_why(order.reason, order.for_model)}.")

    def failed(self, model: str, step: str, reason: str) -> None:
        """A fetch or a load came to nothing."""
        self._note("failed", model, step=step, why=reason)
        self._say(f"Failed to {step} model {model}: {reason}")

    def crashed(self, model: str, how: str) -> None:
        """A loaded model's worker died by itself, or was killed for being late."""
        self._note("crashed", model, why=how)
        self._say(f"The worker of model {model} died: {how}.")

    def platform(self, line: str) -> None:
        """A line for the instance's log stream that is about no model."""
        log.info("instance.says", extra={"line": line})
        self._say(line)

    def _note(self, event: str, model: str, **facts: Any) -> None:
        self.journal.write(event, model, **facts)
        log.info(f"model.{event}", extra={"model": model, **facts})

    def _say(self, line: str) -> None:
        self.logs.write(None, line)


def _mib(size: int) -> str:
    return f"{size / MIB:.1f} MiB"


def _why(reason: Reason, for_model: str | None) -> str:
    return WHY[reason] + (f" for {for_model}" if for_model else "")

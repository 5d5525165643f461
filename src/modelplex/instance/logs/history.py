"""Tells what happened on the instance to those who ask: the journal, the log stream, stderr."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from modelplex.aws.errors import ServiceError
from modelplex.core.events import Drop, Reason, Unload
from modelplex.core.keys import name_of, version_of
from modelplex.instance.logs.journal import Journal
from modelplex.instance.logs.streams import Logs
from modelplex.instance.processes.receipts import Receipt

log = logging.getLogger(__name__)

MIB = 1024 * 1024
WHY = {
    Reason.MEMORY: "to make room in memory",
    Reason.DISK: "to make room on the disk",
    Reason.UNCACHED: "since ModelCacheSetting is Disabled",
    Reason.OVER_BUDGET: "since models have grown beyond the budget",
    Reason.REPLACED: "since another version answers to its name",
}


class History:
    """One method per kind of event. Bytes and seconds are what was measured."""

    def __init__(self, journal: Journal, logs: Logs) -> None:
        self.journal = journal
        self.logs = logs

    def fetched(
        self, model: str, disk_bytes: int, seconds: float, steps: Mapping[str, float]
    ) -> None:
        """The artifact is on the disk. `steps` are milliseconds, see `disk.Download`."""
        took = round(seconds, 4)
        self._note("fetched", model, disk_bytes=disk_bytes, seconds=took, steps=dict(steps))
        self._say(f"Fetched model {_label(model)}: {_mib(disk_bytes)} in {seconds:.3f} s.")

    def loaded(
        self,
        model: str,
        memory_bytes: int,
        seconds: float,
        pid: int,
        steps: Mapping[str, float],
    ) -> None:
        """The worker is ready. `steps` are milliseconds, see `Loaded.steps`."""
        facts = {"memory_bytes": memory_bytes, "seconds": round(seconds, 4), "pid": pid}
        self._note("loaded", model, **facts, steps=dict(steps))
        self._say(
            f"Loaded model {_label(model)}: {_mib(memory_bytes)} in {seconds:.3f} s, pid {pid}."
        )

    def moved(self, model: str, worker: int, pid: int) -> None:
        """It answers from another worker; number 0: from one of its own."""
        self._note("moved", model, worker=worker, pid=pid)
        where = f"worker {worker}" if worker else "a worker of its own"
        self._say(f"Moved model {_label(model)} to {where}, pid {pid}.")

    def unloaded(self, order: Unload, receipt: Receipt, used_before: int, used_after: int) -> None:
        """The worker is gone. `used` counts what all loaded and loading models hold."""
        self._note(
            "unloaded",
            order.model,
            reason=order.reason.value,
            for_model=_named(order.for_model),
            expected_bytes=receipt.expected_bytes,
            freed_bytes=receipt.freed_bytes,
            used_bytes_before=used_before,
            used_bytes_after=used_after,
        )
        why = _why(order.reason, _named(order.for_model))
        self._say(f"Unloaded model {_label(order.model)} {why}: {_mib(receipt.freed_bytes)} freed.")
        if receipt.short:
            self._short(order.model, receipt)

    def _short(self, model: str, receipt: Receipt) -> None:
        """Memory is missing: count it, and say so where somebody looks."""
        expected, freed = receipt.expected_bytes, receipt.freed_bytes
        self.journal.write("short_unload", model, expected_bytes=expected, freed_bytes=freed)
        facts = {"model": model, "expected_bytes": expected, "freed_bytes": freed}
        log.warning("model.memory_not_returned", extra=facts)
        kept = f"{_mib(expected)} were expected back: shared memory or processes are left"
        self._say(f"Warning: only {_mib(freed)} of model {_label(model)} came back; {kept}.")

    def dropped(self, order: Drop) -> None:
        """The artifact is gone from the disk."""
        self._note(
            "dropped", order.model, reason=order.reason.value, for_model=_named(order.for_model)
        )
        why = _why(order.reason, _named(order.for_model))
        self._say(f"Removed model {_label(order.model)} from disk {why}.")

    def switched(self, name: str, version: str) -> None:
        """Another version answers to the name."""
        self._note("switched", name, version=version)
        self._say(f"Model {name} is answered by version {version or 'unknown'} now.")

    def discarded(self, model: str, failure: object) -> None:
        """A version is not taken; the one before it serves on."""
        why = failure.message if isinstance(failure, ServiceError) else str(failure)
        self._note("discarded", model, why=why)
        self._say(f"Model {_label(model)} is not taken, the version before it serves on: {why}")

    def failed(self, model: str, step: str, reason: str) -> None:
        """A fetch or a load came to nothing."""
        self._note("failed", model, step=step, why=reason)
        self._say(f"Failed to {step} model {_label(model)}: {reason}")

    def crashed(self, model: str, how: str) -> None:
        """A loaded model was lost: its worker died by itself, or had to be ended."""
        self._note("crashed", model, why=how)
        self._say(f"Lost model {_label(model)}: {how}.")

    def platform(self, line: str) -> None:
        """A line for the instance's log stream that is about no model."""
        log.info("instance.says", extra={"line": line})
        self._say(line)

    def _note(self, event: str, model: str, **facts: Any) -> None:
        name, version = name_of(model), version_of(model)
        facts = facts | ({"version": version} if version else {})
        self.journal.write(event, name, **facts)
        log.info(f"model.{event}", extra={"model": name, **facts})

    def _say(self, line: str) -> None:
        self.logs.write(None, line)


def _label(model: str) -> str:
    """A model's name, and its version if it is a later one."""
    name, version = name_of(model), version_of(model)
    return f"{name} (version {version})" if version else name


def _named(model: str | None) -> str | None:
    return None if model is None else name_of(model)


def _mib(size: int) -> str:
    return f"{size / MIB:.1f} MiB"


def _why(reason: Reason, for_model: str | None) -> str:
    return WHY[reason] + (f" for {for_model}" if for_model else "")

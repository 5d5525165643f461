"""What a process is: argv and the terms under which it runs, as the supervisor's API says it."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Spec:
    """What to run, as the API's document says it."""

    argv: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)  # added to the supervisor's own
    cwd: str | None = None
    log: str | None = None  # a file for stdout and stderr; None: the supervisor's stderr
    restart: bool = False
    grace_s: float = 30.0  # SIGTERM to SIGKILL
    death_signal: int = signal.SIGTERM  # from the kernel when the supervisor dies
    descriptors: tuple[int, ...] = ()  # of the supervisor's, which it keeps under their numbers

    @classmethod
    def from_document(cls, document: Any) -> Spec:
        """Raises ValueError: which member cannot be carried out, and why."""
        if not isinstance(document, dict):
            raise ValueError("the document must be an object")
        known = {k: v for k, v in document.items() if v is not None}
        for name, value in known.items():
            if name not in _CHECKS:
                raise ValueError(f"unknown member {name!r}; known: {', '.join(_CHECKS)}")
            if not _CHECKS[name](value):
                raise ValueError(f"{name} = {value!r} is not usable")
        if "argv" not in known:
            raise ValueError("argv is missing")
        return cls(**{**known, "argv": tuple(known["argv"])})


_CHECKS = {
    "argv": lambda v: isinstance(v, list) and bool(v) and all(isinstance(a, str) for a in v),
    "env": lambda v: isinstance(v, dict) and all(isinstance(a, str) for a in [*v, *v.values()]),
    "cwd": lambda v: isinstance(v, str) and Path(v).is_absolute(),
    "log": lambda v: isinstance(v, str) and Path(v).is_absolute(),
    "restart": lambda v: isinstance(v, bool),
    "grace_s": lambda v: isinstance(v, int | float) and 0 <= v <= 3600,
}

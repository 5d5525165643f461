"""The limits of a pool of workers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Each field says what happens at the limit."""

    start_timeout_s: float = 180.0  # until the zygote has imported everything; then StartFailed
    fork_timeout_s: float = 30.0  # until the zygote has forked or reaped; then it is replaced
    unload_timeout_s: float = 5.0  # SIGTERM to SIGKILL of a worker
    body_bytes_max: int = 6_291_456  # of a request; more: ValueError
    response_bytes_max: int = 6_291_456  # of an answer; more: the answer is a 500 that says so
    memory_bytes_max: int = 0  # allocated by a loaded worker; more: MemoryError; 0: as at load
    memory_slack_bytes: int = 64 * MIB  # allocated, unused, and not blamed on a worker
    obey_permissions: bool = False  # read-only files of models are so for root too
    cgroup: Path | None = None  # folder in which each process gets a memory cgroup of its own
    log_lines_max: int = 1000  # per second and worker; more are dropped and counted
    log_line_bytes_max: int = 16 * 1024  # the rest of a longer line is dropped
    spare: bool = False  # one worker is forked before it is needed; it takes what a bare fork does
    restart_delay_max_s: float = 10.0  # longest pause before a dead zygote is started again
    learn_delay_s: float = 1.0  # from learning of new imports to starting a zygote that has them
    learn_modules_min: int = 5  # new imports; fewer wait for more, or for the next start
    generations_max: int = 8  # zygotes started because more imports were learned; then no more

"""What one instance has to give."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from modelplex.core.policies import POLICIES


@dataclass(frozen=True, slots=True)
class Limits:
    """Budgets, queues and waits. Each has an end; `events.Refusal` says what happens there."""

    memory_bytes: int
    disk_bytes: int
    fetches_max: int = 8  # at once
    loads_max: int = 1  # at once
    concurrency: int = 1  # requests that a model's worker takes at once
    concurrency_brisk: int = 1  # the same where answers take less than `dispatch.BRISK_S`
    model_ready_timeout_s: float = 60.0  # a request waits this long for its model to be loaded
    model_load_timeout_s: float = 360.0  # fetch and load together, without the waits between
    queue_per_model_max: int = 1000  # waiting requests of one model
    queue_max: int = 4000  # waiting requests of all models
    queue_wait_max_s: float = 30.0  # a request waits this long for a busy worker: see `overload`
    remembered_max: int = 10_000  # models that are nowhere now, and whose sizes are still known
    memory_guess_bytes: int = 32 * 1024 * 1024  # for the first load, while nothing is known
    cache_enabled: bool = True  # ModelCacheSetting; else a model leaves after its last answer
    tenure_max_s: float = 1.0  # longest that a busy model keeps its place: see `room.busy`
    answers_max: int = 64  # requests forwarded at once, of all models
    policy: str = "adaptive"  # of `policies.POLICIES`: who leaves memory and disk first
    usage_half_life_s: float = 86_400.0  # how fast a model's past requests count for less
    quarantine_after: int = 3  # failures or crashes in a row
    quarantine_max_s: float = 600.0  # longest pause of a model that goes on failing
    hot_wait_s: float = 2.0  # longest that a load waits which only hotter models could pay for
    models_per_worker: int = 1  # more: small models may share a process
    patience_s: float = 0.05  # in a shared worker: behind another model's request; then it moves

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if type(value) is int and value < 1:
                raise ValueError(f"{name} is {value}; it has to be at least 1")
        if self.policy not in POLICIES:
            names = ", ".join(POLICIES)
            raise ValueError(f"policy is {self.policy!r}; it has to be one of {names}")

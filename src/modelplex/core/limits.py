"""What one instance has to give."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Budgets, queues and waits. Each has an end; `events.Refusal` says what happens there."""

    memory_bytes: int
    disk_bytes: int
    fetches_max: int = 8  # at once
    loads_max: int = 1  # at once
    concurrency: int = 1  # requests that a model's worker takes at once
    model_ready_timeout_s: float = 60.0  # a request waits this long for its model to be loaded
    model_load_timeout_s: float = 360.0  # fetch and load together, without the waits between
    queue_per_model_max: int = 1000  # waiting requests of one model
    queue_max: int = 4000  # waiting requests of all models
    remembered_max: int = 10_000  # models that are nowhere now, and whose sizes are still known
    memory_guess_bytes: int = 32 * 1024 * 1024  # for the first load, while nothing is known
    cache_enabled: bool = True  # ModelCacheSetting; else a model leaves after its last answer
    turn_max_s: float = 1.0  # longest that a busy model keeps its place: see `room.busy`

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if type(value) is int and value < 1:
                raise ValueError(f"{name} is {value}; it has to be at least 1")

"""Bytes promised to models out of a fixed amount: an instance's memory, or its disk."""

from __future__ import annotations


class Budget:
    """Who holds how many bytes. A reservation is made before the bytes are used."""

    def __init__(self, capacity_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
        self.used_bytes = 0
        self.held: dict[str, int] = {}
        self.leaving: set[str] = set()  # holders that will release soon

    def __repr__(self) -> str:
        return (
            f"<Budget {self.used_bytes} of {self.capacity_bytes} bytes, {len(self.held)} holders>"
        )

    @property
    def free_bytes(self) -> int:
        """What nobody holds; below zero where holders have grown."""
        return self.capacity_bytes - self.used_bytes

    @property
    def leaving_bytes(self) -> int:
        return sum(self.held[name] for name in self.leaving)

    def of(self, name: str) -> int:
        return self.held.get(name, 0)

    def reserve(self, name: str, size_bytes: int) -> None:
        """Set what `name` holds, whether it fits or not: to ask is the caller's part."""
        self.used_bytes += size_bytes - self.held.get(name, 0)
        self.held[name] = size_bytes

    def depart(self, name: str) -> None:
        """Note that `name` will release what it holds."""
        self.leaving.add(name)

    def release(self, name: str) -> None:
        self.used_bytes -= self.held.pop(name)
        self.leaving.discard(name)

    def missing_bytes(self, needed_bytes: int) -> int:
        """What `needed_bytes` lack when all that leave have left; not above 0 if nothing."""
        return needed_bytes - self.free_bytes - self.leaving_bytes

    def check(self) -> None:
        """Assert that the sums are right."""
        assert self.used_bytes == sum(self.held.values()), self
        assert self.leaving <= self.held.keys(), self.leaving
        assert all(size >= 0 for size in self.held.values()), self.held

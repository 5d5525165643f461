"""Bytes promised to models out of a fixed amount: an instance's memory, or its disk.

Holders of the same content are twins: what they hold lies there once, and is charged to one of
them. When that one goes, the charge passes to another; only the last one's end frees the bytes.
"""

from __future__ import annotations

from collections.abc import Iterator


class Budget:
    """Who holds how many bytes. A reservation is made before the bytes are used."""

    def __init__(self, capacity_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
        self.used_bytes = 0
        self.held: dict[str, int] = {}  # what each is charged; 0 for a twin of one that is charged
        self.leaving: set[str] = set()  # holders that will release soon
        self._content: dict[str, str] = {}  # of holders that may have twins
        self._twins: dict[str, dict[str, int]] = {}  # content -> size by name; the first is charged

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
        """What all that leave will have freed; nothing for those whose twins stay."""
        return sum(self._freed_by(name) for name in self.leaving)

    def of(self, name: str) -> int:
        """What is charged to `name`."""
        return self.held.get(name, 0)

    def share_bytes(self, name: str) -> int:
        """What dropping `name` counts for: its size, divided among its twins."""
        if twins := self._twins.get(self._content.get(name, "")):
            return twins[name] // len(twins)
        return self.of(name)

    def twins(self, name: str) -> Iterator[str]:
        """The others who hold the same content."""
        twins = self._twins.get(self._content.get(name, ""), {})
        return (other for other in twins if other != name)

    def reserve(self, name: str, size_bytes: int, content: str = "") -> None:
        """Set what `name` holds, whether it fits or not: to ask is the caller's part.

        Who holds an equal `content` already shares it; "" is equal to nothing.
        """
        if self._content.get(name, "") != content:
            self._part(name)
        if content:
            self._content[name] = content
            twins = self._twins.setdefault(content, {})
            twins[name] = size_bytes
            if next(iter(twins)) != name:
                size_bytes = 0
        self._charge(name, size_bytes)

    def depart(self, name: str) -> None:
        """Note that `name` will release what it holds."""
        self.leaving.add(name)

    def release(self, name: str) -> None:
        """Take `name` out; its twins keep what it held."""
        self._part(name)
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
        for content, twins in self._twins.items():
            assert all(self._content.get(name) == content for name in twins), twins
            charged = next(iter(twins), "")
            assert self.held.get(charged) == twins[charged], f"{charged} is not charged"
            assert not any(self.held[name] for name in twins if name != charged), twins
        assert sum(map(len, self._twins.values())) == len(self._content), self._content

    def _charge(self, name: str, size_bytes: int) -> None:
        self.used_bytes += size_bytes - self.held.get(name, 0)
        self.held[name] = size_bytes

    def _part(self, name: str) -> None:
        """End `name`'s being a twin, and pass on what was charged to it for all of them."""
        if (content := self._content.pop(name, None)) is None:
            return
        twins = self._twins[content]
        charged = next(iter(twins)) == name
        del twins[name]
        if not twins:
            del self._twins[content]
        elif charged:
            self._charge(name, 0)
            heir = next(iter(twins))
            self._charge(heir, twins[heir])

    def _freed_by(self, name: str) -> int:
        twins = self._twins.get(self._content.get(name, ""), {})
        return self.held[name] if twins.keys() <= self.leaving else 0

"""Models waiting for their turn, the one that has waited longest first."""

from __future__ import annotations

from bisect import bisect_left, insort


class Line:
    """A queue ordered by ticket, so that who comes back after a setback stands where it stood."""

    def __init__(self) -> None:
        self.places: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self.places)

    @property
    def first(self) -> str:
        return self.places[0][1]

    def add(self, ticket: int, model: str) -> None:
        insort(self.places, (ticket, model))

    def remove(self, ticket: int, model: str) -> None:
        index = bisect_left(self.places, (ticket, model))
        assert self.places[index] == (ticket, model), f"{model} is not in this line"
        del self.places[index]

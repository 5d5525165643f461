"""Who is answered next where more requests wait than the instance may work on at once.

Start-time fair queuing (Goyal, Vin and Cheng, 1996) over models: every turn of a model begins, on a
virtual clock, where its turn before that ended, or now if that is past; and it is as long as its
answers take on average, divided by its weight. The turn that begins first is the next. So
models that always have work share the instance's time by weight, however many requests one of them
has and however long they take, and one that comes back from a rest waits for at most one turn of
each of the others.
"""

from __future__ import annotations

from bisect import bisect_left, insort

from modelplex.core.model import Model

Turn = tuple[float, int, str]  # its begin on the virtual clock, order of joining, model


class Turns:
    """Loaded models that could be answering if there were not too many answers under way."""

    def __init__(self) -> None:
        self.now = 0.0  # on the virtual clock: when the turn began that was taken last
        self.models: dict[str, Model] = {}
        self._turns: dict[str, Turn] = {}
        self.order: list[Turn] = []  # the next one first
        self._joined = 0

    def __contains__(self, model: Model) -> bool:
        return model.name in self._turns

    def join(self, model: Model) -> None:
        """Let a model have a turn, if it does not wait for one already."""
        if model.name in self._turns:
            return
        self._joined += 1
        turn = (max(self.now, model.fair_at), self._joined, model.name)
        self.models[model.name], self._turns[model.name] = model, turn
        insort(self.order, turn)

    def leave(self, model: Model) -> None:
        """Take a model out, if it is there."""
        if turn := self._turns.pop(model.name, None):
            del self.models[model.name]
            del self.order[bisect_left(self.order, turn)]

    def take(self, usual_s: float) -> Model:
        """The model whose turn it is, taken out. `usual_s`: how long answers take, of a model of
        which that is not known yet.
        """
        began, _, name = self.order[0]
        model = self.models[name]
        self.leave(model)
        self.now = began
        model.fair_at = began + (model.usage.handle_s or usual_s) / model.rule.weight
        return model

    def check(self) -> None:
        """Assert that all books say the same."""
        assert self.order == sorted(self._turns.values()), self.order
        assert self._turns.keys() == self.models.keys(), self._turns

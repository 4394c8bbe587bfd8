"""A rollout that several updates are made from: passes over it, each cut into minibatches in an order of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from penchant.batches.saved import batch_from_state, batch_state
from penchant.records import Batch
from penchant.runtime.random import stream

__all__ = ["Reuse"]


class Reuse:
    """Serves the micro-batches of a rollout, a minibatch an update.

    Args:
        iterations: passes over a rollout.
        minibatches: updates of a pass; a minibatch is some of the micro-batches.
    """

    def __init__(self, iterations: int, minibatches: int, seed: int):
        self.iterations, self.minibatches, self.seed = iterations, minibatches, seed
        self.used = 0  # updates that the last rollout was used for
        self.number = 0  # rollouts so far
        self.batches: list[Batch] = []  # of that rollout, those of all processes

    @property
    def updates(self) -> int:
        """Updates that are made from one rollout."""
        return self.iterations * self.minibatches

    @property
    def left(self) -> bool:
        """Whether the last rollout is to be used again."""
        return 0 < self.used < self.updates

    def begin(self, batches: Sequence[Batch]) -> None:
        """Take a new rollout."""
        self.batches, self.used = list(batches), 0
        self.number += 1

    def next(self) -> list[Batch]:
        """The micro-batches of the next update, those of all processes."""
        turn, part = divmod(self.used, self.minibatches)
        self.used += 1
        if self.minibatches == 1:
            return self.batches
        order = stream(self.seed, "minibatches", self.number, turn).permutation(len(self.batches))
        count = len(order)
        edges = [count * n // self.minibatches for n in range(self.minibatches + 1)]
        return [self.batches[i] for i in sorted(order[edges[part] : edges[part + 1]])]

    def state_dict(self) -> dict[str, Any]:
        """What is still to be served."""
        if self.updates == 1:
            return {}
        return {
            "used": self.used,
            "number": self.number,
            "batches": [batch_state(b) for b in self.batches] if self.left else [],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on within a rollout."""
        self.used, self.number = state.get("used", 0), state.get("number", 0)
        self.batches = [batch_from_state(one) for one in state.get("batches", ())]

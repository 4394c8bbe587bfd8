"""A target network: the same model some updates ago."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from penchant.models.following import Following

__all__ = ["Target"]


class Target(Following):
    """Follows a model every so many updates.

    Attributes:
        model: the network that values what comes next; None before `begin`.
    """

    def __init__(self, every: int, rate: float):
        super().__init__(rate)
        self.every, self.model = every, None

    def begin(self, model: Any) -> None:  # type: ignore[override]
        """Take the model as it is."""
        self.model = copy.deepcopy(model).requires_grad_(False)
        slow = dict(self.model.named_parameters())  # type: ignore[attr-defined]
        super().begin({name: (slow[name], fast) for name, fast in model.named_parameters()})

    def after_update(self, step: int, metrics: Mapping[str, float]) -> dict[str, float]:
        """Move where it is time to."""
        if step % self.every == 0:
            self.move()
        return {}

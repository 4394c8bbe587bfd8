"""One step of all rows: on CUDA a captured graph, since launching its kernels one by one takes longer than they do."""

from __future__ import annotations

from torch import Tensor

from penchant.models.frozen import Frozen
from penchant.runtime.cards import Captured, on_cuda
from penchant.sampling.cache import Cache

__all__ = ["Step"]


class Step:
    """Feeds each row its newest token.

    On CUDA the first step after the cache was laid out anew runs as it stands (it also compiles what it needs); the
    second is captured, and played from then on.
    """

    def __init__(self, model: Frozen, cache: Cache):
        self.model, self.cache, self._plays = model, cache, on_cuda(model.device)
        self._layout = -1  # of the cache, when the last step ran as it stands
        self._captured: Captured | None = None

    def __call__(self, last: Tensor, place: Tensor) -> Tensor:
        """Hidden states [rows, hidden] of each row's newest token at its place (int64 [rows] both).

        They are overwritten by the next step.
        """
        if not self._plays or self._layout != self.cache.layouts:
            self._layout, self._captured = self.cache.layouts, None
            return self.states(last, place)
        if self._captured is None:
            self._captured = Captured(self.states, last, place)
        return self._captured(last, place)

    def states(self, last: Tensor, place: Tensor, products: list[Tensor] | None = None) -> Tensor:
        """The same, kernel by kernel; `products` is given what each linear layer gave."""
        return self.model.states(last, self.cache.mix(place), None, products)

"""One step of all rows: on CUDA a captured graph, since launching its kernels one by one takes longer than they do."""

from __future__ import annotations

import torch
from torch import Tensor

from penchant.models.frozen import Frozen
from penchant.sampling.cache import Cache

__all__ = ["Step"]


class Step:
    """Feeds each row its newest token.

    On CUDA the first step after the cache was laid out anew runs as it stands (it also compiles what it needs); the
    second is captured, and played from then on.
    """

    def __init__(self, model: Frozen, cache: Cache):
        self.model, self.cache = model, cache
        self._layout = -1  # of the cache, when the last step ran as it stands
        self._graph: torch.cuda.CUDAGraph | None = None
        self._plays = model.device.type == "cuda"

    def __call__(self, last: Tensor, place: Tensor) -> Tensor:
        """Hidden states [rows, hidden] of each row's newest token at its place (int64 [rows] both).

        They are overwritten by the next step.
        """
        if not self._plays or self._layout != self.cache.layouts:
            self._layout, self._graph = self.cache.layouts, None
            return self.model.states(last, self.cache.mix(place))
        if self._graph is None:
            self._capture(last, place)
        self._last.copy_(last)
        self._place.copy_(place)
        assert self._graph is not None
        self._graph.replay()
        return self._states

    def _capture(self, last: Tensor, place: Tensor) -> None:
        self._last, self._place = last.clone(), place.clone()
        self._graph = torch.cuda.CUDAGraph()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # not torch.cuda.graph, which collects garbage and empties the cache each time
            self._graph.capture_begin(capture_error_mode="thread_local")
            self._states = self.model.states(self._last, self.cache.mix(self._place))
            self._graph.capture_end()
        torch.cuda.current_stream().wait_stream(stream)

"""Documents as endless, shuffled micro-batches of a fixed number of content tokens a step.

Windows of whole documents are drawn without replacement, epoch by epoch; a step takes windows until its share of
content tokens (control tokens not counted) is reached, so runs with and without control tokens see equally much text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from penchant.data.pack import cut_windows, next_token_batch
from penchant.errors import DataRejected
from penchant.records import Batch
from penchant.runtime.random import stream

__all__ = ["Corpus", "windows_of"]

Window = tuple[np.ndarray, np.ndarray]  # ids, keep


def windows_of(documents: Sequence[tuple[np.ndarray, np.ndarray]], context: int) -> list[Window]:
    """All windows of encoded documents (ids, control mask), with at least one label each."""
    found = [w for ids, control in documents for w in cut_windows(ids, control, context)]
    return [(ids, keep) for ids, keep in found if keep[1:].any()]


class Corpus:
    """A source of next-token batches.

    Args:
        windows: from `windows_of`.
        content_tokens: labels of one optimizer step, over all micro-batches.
        micro_batch_size: windows of one micro-batch at most.
    """

    def __init__(self, windows: Sequence[Window], content_tokens: int, micro_batch_size: int, seed: int):
        if not windows:
            raise DataRejected(
                "no training text is left: every window has an empty loss mask",
                "give more text, or check segment= and signal=",
            )
        self.windows, self.per_step, self.micro, self.seed = windows, content_tokens, micro_batch_size, seed
        self.counts = np.array([int(keep[1:].sum()) for _, keep in windows])
        self.taken = 0  # windows drawn so far
        self.content = 0  # content tokens drawn so far
        self._epoch, self._order = -1, np.zeros(0, np.int64)

    @property
    def epochs(self) -> float:
        """How often the corpus was gone through so far."""
        return self.taken / len(self.windows)

    def _window(self, number: int) -> int:
        epoch, place = divmod(number, len(self.windows))
        if epoch != self._epoch:
            self._epoch, self._order = epoch, stream(self.seed, "epoch", epoch).permutation(len(self.windows))
        return int(self._order[place])

    def next(self, step: int) -> tuple[list[Batch], dict[str, float]]:
        """The micro-batches of one step; statistics: content tokens so far and epochs."""
        chosen: list[int] = []
        while self.content < (step + 1) * self.per_step:
            chosen.append(self._window(self.taken))
            self.taken += 1
            self.content += int(self.counts[chosen[-1]])
        groups = [chosen[a : a + self.micro] for a in range(0, len(chosen), self.micro)]
        batches = [next_token_batch([self.windows[i][0] for i in g], [self.windows[i][1] for i in g]) for g in groups]
        return batches, {"content_tokens": self.content, "epoch": round(self.epochs, 4)}

    def state_dict(self) -> dict[str, Any]:
        """The position in the data."""
        return {"taken": self.taken, "content": self.content}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a position."""
        self.taken, self.content = state["taken"], state["content"]

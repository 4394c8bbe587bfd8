"""Perplexity of content tokens on held-out text, over the same tokens for every model and way of asking.

Windows are cut by content tokens, so control tokens neither count nor shift what is counted; the first content token of
a window is left out everywhere, because without a control token nothing stands before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from penchant.evaluation.evaluate import Ratio

__all__ = ["LogProbs", "Window", "choose", "cut", "measure"]

LogProbs = Callable[[list[list[int]]], list[np.ndarray]]


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of one document: ids int [T] with control tokens, control bool [T]."""

    source: str
    ids: np.ndarray
    control: np.ndarray

    @property
    def content(self) -> np.ndarray:
        """The content tokens alone."""
        return self.ids[~self.control]


def cut(source: str, ids: np.ndarray, control: np.ndarray, size: int) -> list[Window]:
    """Windows of `size` content tokens without overlap (the last may be shorter, and has at least 2).

    Args:
        ids, control: of `text.control.encode_document`; a control token goes with the content after it.
        size: content tokens of a window.
    """
    at = np.flatnonzero(~control)
    windows = []
    for a in range(0, len(at), size):
        b = min(a + size, len(at))
        if b - a >= 2:
            span = slice(at[a - 1] + 1 if a else 0, at[b - 1] + 1)
            windows.append(Window(source, ids[span], control[span]))
    return windows


def choose(windows: Sequence[Window], tokens: int, random: np.random.Generator) -> list[Window]:
    """Windows in a random order until they hold `tokens` content tokens, put back into their own order."""
    kept, total = [], 0
    for i in random.permutation(len(windows)):
        if total >= tokens:
            break
        kept.append(int(i))
        total += len(windows[i].content)
    return [windows[i] for i in sorted(kept)]


def measure(
    windows: Sequence[Window],
    logprobs: LogProbs,
    sizes: Callable[[Sequence[int]], np.ndarray],
    labelled: bool,
) -> dict[str, Ratio]:
    """`perplexity` and `bits_per_byte` as sums a window; the value of many is made from the sums of their parts.

    Args:
        logprobs: natural log-prob of each token given those before, [len - 1] a sequence.
        sizes: bytes of text that each token stands for.
        labelled: let the model see the control tokens; their own log-probs are not counted either way.
    """
    given = [
        (w.ids.tolist(), w.control) if labelled else (w.content.tolist(), np.zeros(len(w.content), bool))
        for w in windows
    ]
    found = logprobs([ids for ids, _ in given])
    nll, count, size = (np.zeros(len(windows)) for _ in range(3))
    for i, ((ids, control), values) in enumerate(zip(given, found, strict=True)):
        counted = np.flatnonzero(~control)[1:]
        nll[i] = -np.asarray(values, float)[counted - 1].sum()
        count[i] = len(counted)
        size[i] = np.sum(sizes([ids[j] for j in counted]))
    sources = tuple(w.source for w in windows)
    return {
        "perplexity": Ratio(nll, count, sources, np.exp),
        "bits_per_byte": Ratio(nll / np.log(2), size, sources),
    }

"""Which stretch of a text each of its tokens begins in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from penchant.text.tokenizer import Tokenizer

__all__ = ["stretches"]


def stretches(ids: Sequence[int], text: str, ends: Sequence[int], tokenizer: Tokenizer) -> np.ndarray:
    """int64 [len(ids)]: the number of the stretch that each token begins in; len(ends) from the last end on.

    Args:
        text: what the ids decode to, special tokens left out.
        ends: the character offset at which each stretch ends, ascending.
    """
    if "\ufffd" in text:  # bytes that are no UTF-8: one character for an unknown number of bytes
        starts = np.array([len(tokenizer.decode(ids[:n])) for n in range(len(ids))], np.int64)
        limits = list(ends)
    else:
        sizes = tokenizer.byte_lengths(ids)
        starts, limits = np.cumsum(sizes) - sizes, [len(text[:end].encode()) for end in ends]
    return np.searchsorted(np.asarray(limits, np.int64), starts, side="right")

"""Exact order statistics of more numbers than memory holds: two passes, 65,536 counters each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

__all__ = ["at_ranks"]

Blocks = Callable[[], Iterable[np.ndarray]]


def at_ranks(blocks: Blocks, ranks: Sequence[int]) -> list[float]:
    """The values that stand at these places (from 0) when all float32 values are sorted.

    A float's bits, with the sign turned about, sort as it does: the first pass counts their upper halves, the second
    the lower halves of those values whose upper half is the one that a rank falls into.

    Args:
        blocks: gives the values, float32 without NaN, in blocks of any size; called twice.
    """
    counts = np.zeros(1 << 16, np.int64)
    for block in blocks():
        counts += np.bincount(_ordered(block) >> 16, minlength=1 << 16)
    ends = np.cumsum(counts)
    upper = np.searchsorted(ends, np.asarray(ranks), side="right")
    below = {int(u): np.zeros(1 << 16, np.int64) for u in upper}
    for block in blocks():
        keys = _ordered(block)
        for u, found in below.items():
            found += np.bincount(keys[keys >> 16 == u] & 0xFFFF, minlength=1 << 16)
    values = []
    for rank, u in zip(ranks, upper.tolist(), strict=True):
        lower = int(np.searchsorted(np.cumsum(below[u]), rank - (ends[u] - counts[u]), side="right"))
        values.append(_value(u << 16 | lower))
    return values


def _ordered(block: np.ndarray) -> np.ndarray:
    bits = np.ascontiguousarray(block, np.float32).view(np.uint32).astype(np.int64)
    return np.where(bits >> 31, 0xFFFFFFFF - bits, bits | 0x80000000)


def _value(key: int) -> float:
    bits = key & 0x7FFFFFFF if key >> 31 else 0xFFFFFFFF - key
    return float(np.array(bits, np.uint32).view(np.float32))

"""The words of many texts at once, as hashes: letters, digits and underscores that stand together.

Han characters and kana are words of their own, as Chinese and Japanese write no spaces.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

__all__ = ["hashed_words"]

_LAST = 0x323B0  # no letters beyond it, so far
_OWN = ((0x3040, 0x30FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF))
_BASE = np.uint64(0xD1342543DE82EF95)
_INVERSE = np.uint64(pow(0xD1342543DE82EF95, -1, 1 << 64))


@functools.cache
def _kinds() -> np.ndarray:
    """Of each code point: 0 outside words, 1 part of one, 2 a word of its own."""
    kinds = np.fromiter((chr(k).isalnum() or k == 0x5F for k in range(_LAST)), np.uint8, _LAST)
    for first, last in _OWN:
        kinds[first : last + 1] = 2
    kinds[-1] = 0
    return kinds


def hashed_words(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of all words, uint64 [words], and the text that each stands in, int64 [words].

    A word's hash is a polynomial of its code points, taken from sums that run over everything; so no word is ever cut
    out of its text.
    """
    points = np.frombuffer("\0".join(texts).encode("utf-32-le"), np.uint32)
    kind = np.r_[np.uint8(0), _kinds()[np.minimum(points, _LAST - 1)], np.uint8(0)]
    begins = np.flatnonzero((kind[1:-1] == 2) | ((kind[1:-1] == 1) & (kind[:-2] != 1)))
    ends = np.flatnonzero((kind[1:-1] == 2) | ((kind[1:-1] == 1) & (kind[2:] != 1))) + 1
    with np.errstate(over="ignore"):
        powers = np.cumprod(np.full(len(points), _BASE))
        sums = np.r_[np.uint64(0), np.cumsum((points.astype(np.uint64) + np.uint64(1)) * powers)]
        hashes = (sums[ends] - sums[begins]) * np.cumprod(np.full(len(points), _INVERSE))[begins]
        hashes = (hashes ^ (hashes >> np.uint64(32))) * _BASE
    starts = np.cumsum([0, *(len(text) + 1 for text in texts)])
    return hashes ^ (hashes >> np.uint64(29)), np.searchsorted(starts, begins, side="right") - 1

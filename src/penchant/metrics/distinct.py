"""Distinct-n: the share of different ones among a fixed number of word n-grams; falls when a model repeats itself.

After Li et al. 2016 ("A Diversity-Promoting Objective Function for Neural Conversation Models"). The share falls with
the amount of text, so two models are compared over the same number of n-grams.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from penchant.metrics.intervals import Difference, Interval, paired_difference, percentiles

__all__ = ["Distinct", "NGrams", "Options", "build", "difference", "distinct", "interval", "ngrams", "words"]

# A word is a run of letters, digits and underscores; scripts written without spaces count by character.
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_CJK}]|(?:(?![{_CJK}])\w)+")


class Options(BaseModel):
    """Options of the metric."""

    model_config = ConfigDict(extra="forbid")
    n: int = Field(default=2, ge=1, description="words in an n-gram")
    size: int = Field(default=5000, ge=1, description="n-grams that are looked at")
    seed: int = Field(default=0, ge=0, description="of the order in which texts are taken")


@dataclass(frozen=True, slots=True)
class Distinct:
    """Distinct-n: `value` (None: no n-grams) over `size` n-grams of the `available`; `wanted` says what was asked."""

    value: float | None
    size: int
    available: int
    wanted: int


def build(options: Options, context: Any = None) -> Callable[[Sequence[str]], Distinct]:
    """A function from texts to their distinct-n."""
    return lambda texts: distinct(texts, options.n, options.size, options.seed)


def words(text: str) -> list[str]:
    """The words of a text, in order, punctuation left out; each Chinese or Japanese character is one."""
    return _WORD.findall(text)


def ngrams(text: str, n: int = 2) -> list[tuple[str, ...]]:
    """The word n-grams of a text, in order, repetitions included."""
    found = words(text)
    return list(zip(*(found[i:] for i in range(n)), strict=False))


def distinct(texts: Sequence[str], n: int = 2, size: int = 5000, seed: int = 0) -> Distinct:
    """Distinct-n over the first `size` n-grams of the texts in a seeded order; no n-gram spans two texts."""
    ids, _ = _interned([texts], n)
    order = np.random.default_rng(seed).permutation(len(texts))
    available = sum(map(len, ids[0]))
    taken = min(size, available)
    return Distinct(_share(ids[0], order, taken) if taken else None, taken, available, size)


@dataclass(frozen=True, slots=True)
class NGrams:
    """The n-grams of one row of texts as numbers: one int64 array a text, and the cluster of each text."""

    ids: list[np.ndarray]
    clusters: list[str]

    @staticmethod
    def of(rows: Sequence[Sequence[str]], clusters: Sequence[Sequence[str]], n: int = 2) -> list[NGrams]:
        """Several rows of texts over one numbering."""
        return [NGrams(ids, list(c)) for ids, c in zip(_interned(rows, n)[0], clusters, strict=True)]

    @property
    def available(self) -> int:
        """How many n-grams there are."""
        return sum(map(len, self.ids))


def interval(row: NGrams, size: int, *, resamples: int = 1000, seed: int = 0, level: float = 0.95) -> Interval:
    """Distinct-n over `size` n-grams with its interval by clusters.

    A bootstrap would draw a file twice and call its text repetition. So halves of the clusters are drawn without
    replacement, whose spread estimates that of the whole (McCarthy 1969, "Pseudo-replication: half samples"), and their
    percentiles are moved so that they centre on the value. Give a `size` of at most half of what is available.
    """
    value, halves = _halves(row, sorted(set(row.clusters)), size, resamples, seed)
    low, high = percentiles(halves, level)
    return Interval(value, low, high, len(row.ids), len(set(row.clusters)))


def difference(
    a: NGrams, b: NGrams, size: int, *, resamples: int = 1000, seed: int = 0, level: float = 0.95
) -> Difference:
    """Paired test of distinct-n (b) - distinct-n (a) over the same halves of the clusters."""
    names = sorted({*a.clusters, *b.clusters})
    (value_a, halves_a), (value_b, halves_b) = (_halves(row, names, size, resamples, seed) for row in (a, b))
    if value_a is None or value_b is None:
        return Difference(None, None, None, None)
    return paired_difference(value_b - value_a, halves_b - halves_a, level)


def _halves(row: NGrams, names: list[str], size: int, resamples: int, seed: int) -> tuple[float | None, np.ndarray]:
    """The value, and float64 [resamples] of the value of half of the clusters, centred on it (empty: none)."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(row.ids))
    taken = min(size, row.available)
    if not taken:
        return None, np.zeros(0)
    value = _share(row.ids, order, taken)
    if len(names) < 2:
        return value, np.zeros(0)
    place = {name: i for i, name in enumerate(names)}
    at = np.fromiter((place[c] for c in row.clusters), np.int64, len(row.clusters))
    halves = np.empty(resamples)
    for i in range(resamples):
        chosen = np.zeros(len(names), bool)
        chosen[random.permutation(len(names))[: len(names) // 2]] = True
        order = random.permutation(len(row.ids))
        halves[i] = _share(row.ids, order[chosen[at[order]]], taken)
    # An odd number of clusters leaves out one more than it takes: (C - h) / h instead of 1.
    spread = np.sqrt((len(names) // 2) / (len(names) - len(names) // 2))
    return value, value + spread * (halves - np.nanmean(halves))


def _share(ids: list[np.ndarray], order: np.ndarray, size: int) -> float:
    """The share of different ones among the first `size` n-grams, texts taken in an order."""
    parts, count = [], 0
    for i in order:
        parts.append(ids[i])
        count += len(ids[i])
        if count >= size:
            break
    if not count:
        return float("nan")
    taken = np.concatenate(parts)[:size]
    return float(np.count_nonzero(np.bincount(taken)) / len(taken))


def _interned(rows: Sequence[Sequence[str]], n: int) -> tuple[list[list[np.ndarray]], int]:
    numbers: dict[tuple[str, ...], int] = {}
    found = [
        [np.fromiter((numbers.setdefault(g, len(numbers)) for g in ngrams(t, n)), np.int64) for t in row]
        for row in rows
    ]
    return found, len(numbers)

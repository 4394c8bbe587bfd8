"""Who said what of which item, and what a method makes of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from penchant.errors import DataRejected

__all__ = ["Estimate", "Method", "Votes", "probability_ratios"]


@dataclass(frozen=True, eq=False)
class Votes:
    """Labels by raters; one may label an item several times.

    Attributes:
        items, raters, labels: their names, in order of appearance; labels sorted.
        item, rater, label: int64 [votes], indices into the names.
        pairs: int64 [items, 2], the two texts that each item compares, where items are pairs: then the labels are "the
            first is better", "the second is", and if there is a third "neither"; else None.
    """

    items: tuple[str, ...]
    raters: tuple[str, ...]
    labels: tuple[str, ...]
    item: np.ndarray
    rater: np.ndarray
    label: np.ndarray
    pairs: np.ndarray | None = None

    @classmethod
    def of(
        cls,
        votes: Iterable[tuple[str, str, str]],
        labels: Sequence[str] = (),
        pairs: Mapping[str, tuple[str, str]] | None = None,
    ) -> Votes:
        """From (item, rater, label) triples.

        Args:
            labels: all that there are, in their order; by default those that occur, numbers by size and texts by name.
            pairs: item -> the texts that it compares.

        Raises:
            DataRejected: there is no vote, or all raters always give the same label.
        """
        given = list(votes)
        if not given:
            raise DataRejected("no item has a label", "give rows with an item, a rater and a label")
        found = sorted({label for *_, label in given}, key=_order)
        known = tuple(labels) or tuple(found)
        if unknown := set(found) - set(known):
            raise DataRejected(f"label {min(unknown)!r} is none of {', '.join(known)}", "name all labels, or none")
        if len(found) < 2:
            raise DataRejected(f"every rater always gives {found[0]!r}", "give labels that differ")
        items, raters = (tuple(dict.fromkeys(vote[k] for vote in given)) for k in (0, 1))
        where = [{name: i for i, name in enumerate(names)} for names in (items, raters, known)]
        item, rater, label = (np.array([where[k][vote[k]] for vote in given]) for k in range(3))
        compared = None if pairs is None else _numbered([pairs[name] for name in items])
        return cls(items, raters, known, item, rater, label, compared)

    def counts(self) -> np.ndarray:
        """float64 [items, labels]: how often each label was given to each item."""
        found = np.zeros((len(self.items), len(self.labels)))
        np.add.at(found, (self.item, self.label), 1)
        return found

    def about(self) -> dict[str, Any]:
        """What there is, and what weakens it: items with one vote, raters who always say the same."""
        votes = np.bincount(self.item, minlength=len(self.items))
        said: dict[int, set[int]] = {}
        for rater, label in zip(self.rater.tolist(), self.label.tolist(), strict=True):
            said.setdefault(rater, set()).add(label)
        given = np.bincount(self.rater, minlength=len(self.raters))
        same = [self.raters[r] for r, labels in said.items() if len(labels) == 1 and given[r] > 1]
        spread = Counter(self.labels[i] for i in self.label.tolist())
        return {
            "items": len(self.items),
            "raters": len(self.raters),
            "votes": len(self.label),
            "labels": {name: spread[name] for name in self.labels},
            "votes_an_item": float(votes.mean()),
            "items_with_one_vote": int((votes == 1).sum()),
            "raters_with_one_label": same,
        }


@dataclass(frozen=True, eq=False)
class Estimate:
    """What a method makes of votes.

    Attributes:
        probability: float64 [items, labels], each row sums to 1.
        reliability: float64 [raters], the probability that one gives the true label, as far as the method knows; NaN.
        told: further findings by name (`prior`, `confusion`, `scores` ...).
    """

    probability: np.ndarray
    reliability: np.ndarray
    told: Mapping[str, Any] = field(default_factory=dict)


Method = Any  # (votes) -> Estimate


def probability_ratios(votes: Votes) -> np.ndarray:
    """float64 [items, labels]: the share of votes for each label."""
    counts = votes.counts()
    return counts / counts.sum(1, keepdims=True)


def _numbered(pairs: Sequence[tuple[str, str]]) -> np.ndarray:
    """int64 [pairs, 2]: the same text has the same number."""
    numbers: dict[str, int] = {}
    return np.array([[numbers.setdefault(text, len(numbers)) for text in pair] for pair in pairs])


def _order(label: str) -> tuple[int, float, str]:
    try:
        return (0, float(label), "")
    except ValueError:
        return (1, 0.0, label)

"""How well raters agree with each other: Krippendorff's alpha, and a rater against the others."""

from __future__ import annotations

import contextlib
from typing import Literal

import numpy as np

from penchant.errors import MissingExtra
from penchant.raters.votes import Votes

__all__ = ["alpha", "one_against_rest"]


def alpha(votes: Votes, level: Literal["nominal", "ordinal", "interval"] = "nominal") -> float:
    """Krippendorff's alpha (2011, "Computing Krippendorff's alpha-reliability"): 1 full agreement, 0 as by chance.

    Args:
        level: what labels are; ordinal and interval take their order, interval their values (else their ranks).

    Returns:
        NaN where no item has two votes.

    Raises:
        MissingExtra: the library krippendorff is not installed.
    """
    try:
        import krippendorff
    except ImportError as error:
        raise MissingExtra("Krippendorff's alpha", "annotation") from error
    counts = votes.counts()
    if (counts.sum(1) < 2).all() or ((counts > 0).sum(0) > 0).sum() < 2:
        return float("nan")
    values = np.arange(len(votes.labels), dtype=float)
    if level == "interval":
        with contextlib.suppress(ValueError):
            values = np.array([float(label) for label in votes.labels])
    return float(krippendorff.alpha(value_counts=counts, value_domain=values, level_of_measurement=level))


def one_against_rest(votes: Votes) -> float:
    """The share of votes that are for the label which most of the item's other votes are for; ties count by parts.

    What a judge who is as good as one rater can reach against the others: the ceiling of a signal. NaN where no item
    has two votes.
    """
    counts = votes.counts()[votes.item]
    counts[np.arange(len(counts)), votes.label] -= 1
    some = counts.sum(1) > 0
    best = counts == counts.max(1, keepdims=True)
    part = (best / best.sum(1, keepdims=True))[np.arange(len(counts)), votes.label]
    return float(part[some].mean()) if some.any() else float("nan")

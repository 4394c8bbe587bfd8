"""From votes to rows with probabilities, and what is to be said of them; the work of `penchant signal raters`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from penchant.metrics.calibration import with_intervals
from penchant.metrics.intervals import draws, ratio_interval
from penchant.raters.calibrate import log_loss
from penchant.raters.read import Layout, Rated
from penchant.raters.votes import Estimate, Votes

__all__ = ["against_truth", "rows", "trustworthy"]


def rows(
    rated: Rated, estimate: Estimate, layout: Layout, positive: str | None, prompt: str | None
) -> list[dict[str, Any]]:
    """One row an item: its own columns, with `label`, `probability` and `probabilities`.

    Of pairs: `prompt`, `chosen` (the likelier), `rejected` and `probability`, that `chosen` is the better one, a tie
    counted half: what reward models, DPO and cDPO read. Else `probability` is that of the label `positive`, or of the
    likeliest.
    """
    votes, found = rated.votes, []
    best = estimate.probability.argmax(1)
    for i, item in enumerate(votes.items):
        p, own = estimate.probability[i], rated.rows[item]
        spread = {label: round(float(value), 6) for label, value in zip(votes.labels, p, strict=True)}
        if layout.pair is not None:
            first = float(p[0] + (p[2] / 2 if len(p) == 3 else 0))
            a, b = (own[name] for name in layout.pair)
            kept = {k: v for k, v in own.items() if k not in (*layout.pair, "judgements", "annotations", "votes")}
            asked = {} if prompt is None else {"prompt": own[prompt]}
            pair = {"chosen": a, "rejected": b} if first >= 0.5 else {"chosen": b, "rejected": a}
            found.append(
                {**kept, **asked, **pair, "probability": round(max(first, 1 - first), 6), "probabilities": spread}
            )
        else:
            stated = p[votes.labels.index(positive)] if positive is not None else p[best[i]]
            label = votes.labels[best[i]]
            found.append({**own, "label": label, "probability": round(float(stated), 6), "probabilities": spread})
    return found


def against_truth(votes: Votes, probability: np.ndarray, truth: Mapping[str, str]) -> dict[str, Any]:
    """Accuracy with its interval, log-loss, ECE and Brier score (of the likeliest label), on items with a known truth.

    Of labels that are as likely each counts by its part.
    """
    known = [i for i, item in enumerate(votes.items) if truth.get(item) in votes.labels]
    if not known:
        return {"items": 0}
    p, y = probability[known], np.array([votes.labels.index(truth[votes.items[i]]) for i in known])
    best = np.isclose(p, p.max(1, keepdims=True))
    right = (best / best.sum(1, keepdims=True))[np.arange(len(y)), y]
    names = [votes.items[i] for i in known]
    accuracy = ratio_interval(right, np.ones(len(right)), names)
    return {
        "items": len(known),
        "accuracy": accuracy.value,
        "low": accuracy.low,
        "high": accuracy.high,
        "log_loss": log_loss(p, y),
        **with_intervals(p.max(1), right, draws(len(right))),
    }


def trustworthy(votes: Votes, estimate: Estimate, count: int = 5) -> list[dict[str, Any]]:
    """The raters whom the method trusts least, with how often they voted."""
    given = np.bincount(votes.rater, minlength=len(votes.raters))
    known: Sequence[int] = [int(r) for r in np.argsort(estimate.reliability) if np.isfinite(estimate.reliability[r])]
    return [
        {"rater": votes.raters[r], "votes": int(given[r]), "reliability": float(estimate.reliability[r])}
        for r in known[:count]
    ]

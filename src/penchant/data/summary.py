"""What `prepare` says about its data: counts by cause, quantiles of scores, one hash over everything kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from penchant.files import stable_hash
from penchant.records import Document

__all__ = ["QUANTILES", "data_hash", "quantiles", "signal_summary", "tally"]

QUANTILES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)


def tally(causes: Iterable[str]) -> dict[str, int]:
    """How often each cause occurs, by name."""
    return dict(sorted(Counter(causes).items()))


def quantiles(values: np.ndarray) -> dict[str, float]:
    """Quantiles that are values themselves (the lower neighbour), so that "score >= quantile" is well defined."""
    cut = np.quantile(values, QUANTILES, method="lower")
    return {f"{q:g}": float(v) for q, v in zip(QUANTILES, cut, strict=True)}


def signal_summary(documents: Sequence[Document], name: str, about: Mapping[str, Any]) -> dict[str, Any]:
    """Quantiles and mean of a signal's segment scores, quantiles of documents' means, and what the signal says of
    itself (range, help ...).
    """
    by_document = [np.asarray(d.scores[name], dtype=np.float64) for d in documents]
    values = np.concatenate(by_document)
    return {
        "quantiles": quantiles(values),
        "document_quantiles": quantiles(np.array([scores.mean() for scores in by_document if len(scores)])),
        "mean": float(values.mean()),
        "minimum": float(values.min()),
        "maximum": float(values.max()),
        **about,
    }


def data_hash(documents: Sequence[Document]) -> str:
    """One hash over (source, hash of the text) of every document, in order."""
    return stable_hash([[d.source, stable_hash(d.text.encode())] for d in documents])

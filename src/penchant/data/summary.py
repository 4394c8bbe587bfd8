"""What `prepare` says about its data: counts by cause, quantiles of scores, one hash over everything kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from penchant.data.quantiles import at_ranks
from penchant.errors import DataRejected
from penchant.files import stable_hash

__all__ = ["QUANTILES", "Scores", "hash_line"]

QUANTILES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)


class Scores:
    """What a signal's scores of segments look like, however many there are.

    Args:
        blocks: gives, each time it is called, blocks of scores (float32 [segments], documents one after another) and
            how many segments each document has (int [documents]).
    """

    def __init__(self, blocks: Callable[[], Iterable[tuple[np.ndarray, np.ndarray]]]):
        self.blocks = blocks

    def summary(self) -> dict[str, Any]:
        """Quantiles that are values themselves (the lower neighbour), so that "score >= quantile" is well defined;
        mean, least and greatest; quantiles of documents' means.

        Raises:
            DataRejected: there is not one score.
        """
        count, total, least, most = 0, 0.0, np.inf, -np.inf
        means = [np.zeros(0)]
        for values, lengths in self.blocks():
            if not len(values):
                continue
            count, total = count + len(values), total + float(values.sum(dtype=np.float64))
            least, most = min(least, float(values.min())), max(most, float(values.max()))
            own = lengths[lengths > 0]
            starts = np.cumsum(own) - own
            means.append(np.add.reduceat(values.astype(np.float64), starts) / own)
        if not count:
            raise DataRejected("the train part is empty, so a signal has no scores there", "raise data.fractions[0]")
        every = at_ranks(lambda: (values for values, _ in self.blocks()), [_rank(q, count) for q in QUANTILES])
        cut = np.quantile(np.concatenate(means), QUANTILES, method="lower")
        return {
            "quantiles": {f"{q:g}": v for q, v in zip(QUANTILES, every, strict=True)},
            "document_quantiles": {f"{q:g}": float(v) for q, v in zip(QUANTILES, cut, strict=True)},
            "mean": total / count,
            "minimum": least,
            "maximum": most,
        }


def _rank(quantile: float, count: int) -> int:
    """The place of the lower neighbour, as `numpy.quantile` has it."""
    return int(np.floor(quantile * (count - 1)))


def hash_line(source: str, text: str) -> bytes:
    """What a document adds to the hash over all of them: its source and the hash of its text, as JSON."""
    return json.dumps([source, stable_hash(text.encode())]).encode()

"""Harmonic mean of precision and recall of words against the best reference, as SQuAD counts (Rajpurkar 2016)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from pydantic import BaseModel

from penchant.contracts import Context
from penchant.metrics._text import normalised, words_of

__all__ = ["LANGUAGES", "REFERENCES", "Options", "build"]

LANGUAGES, REFERENCES = "any", True  # it compares with references


class Options(BaseModel, extra="forbid"):
    """No options."""


def build(options: Options, context: Context) -> Callable[[Sequence[str], Sequence[Sequence[str]]], list[float]]:
    """predictions, references of each -> a number in [0, 1] each."""

    def score(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
        return [
            max((_f1(text, one) for one in own), default=0.0) for text, own in zip(predictions, references, strict=True)
        ]

    return score


def _f1(text: str, reference: str) -> float:
    said, meant = (Counter(words_of(normalised(one))) for one in (text, reference))
    if not said or not meant:
        return float(said == meant)
    same = (said & meant).total()
    return 2 * same / (said.total() + meant.total())

"""sacrebleu's metrics of single texts, imported where they are used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from penchant.errors import MissingExtra

__all__ = ["library", "per_text"]


def library() -> Any:
    """The module.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import sacrebleu
    except ImportError as error:
        raise MissingExtra("sacrebleu", "eval") from error
    return sacrebleu


def per_text(metric: Any, lower: bool = False) -> Callable[[Sequence[str], Sequence[Sequence[str]]], list[float]]:
    """predictions, references of each -> score / 100 each, 1 - score / 100 (at least 0) where lower is better."""

    def one(text: str, references: Sequence[str]) -> float:
        if not references:
            return 0.0
        found = metric.sentence_score(text, list(references)).score / 100
        return max(0.0, 1 - found) if lower else min(1.0, found)

    def score(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
        return [one(text, own) for text, own in zip(predictions, references, strict=True)]

    return score

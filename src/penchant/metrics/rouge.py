"""ROUGE: agreement of words or of their longest common sequence with the best reference (Lin 2004), F1 in [0, 1]."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from pydantic import BaseModel, Field

from penchant.contracts import Context
from penchant.errors import MissingExtra
from penchant.metrics._text import words_of

__all__ = ["LANGUAGES", "REFERENCES", "Options", "build"]

LANGUAGES, REFERENCES = "any", True  # it compares with references


class Options(BaseModel, extra="forbid"):
    """Which of them."""

    kind: Literal["rouge1", "rouge2", "rougeL"] = Field("rougeL", description="rouge1, rouge2 or rougeL")
    stem: bool = Field(False, description="English words by their stems")


class _Words:
    """rouge-score's own tokenizer leaves nothing of Chinese."""

    def __init__(self, stem: bool):
        self.stemmer = None
        if stem:
            from nltk.stem.porter import PorterStemmer

            self.stemmer = PorterStemmer()

    def tokenize(self, text: str) -> list[str]:
        found = words_of(text)
        return found if self.stemmer is None else [self.stemmer.stem(word) for word in found]


def build(options: Options, context: Context) -> Callable[[Sequence[str], Sequence[Sequence[str]]], list[float]]:
    """predictions, references of each -> a number in [0, 1] each.

    Raises:
        MissingExtra: rouge-score is not installed.
    """
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError as error:
        raise MissingExtra("rouge-score", "eval") from error
    scorer = RougeScorer([options.kind], tokenizer=_Words(options.stem))

    def one(text: str, reference: str) -> float:
        return float(scorer.score(reference, text)[options.kind].fmeasure)

    def score(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
        return [
            max((one(text, reference) for reference in own), default=0.0)
            for text, own in zip(predictions, references, strict=True)
        ]

    return score

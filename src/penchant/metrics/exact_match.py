"""1 where a text is one of its references, letter case, articles, punctuation and space aside, as SQuAD compares."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pydantic import BaseModel, Field

from penchant.contracts import Context
from penchant.metrics._text import normalised

__all__ = ["LANGUAGES", "REFERENCES", "Options", "build"]

LANGUAGES, REFERENCES = "any", True  # it compares with references


class Options(BaseModel, extra="forbid"):
    """What is put aside."""

    strict: bool = Field(False, description="nothing but space at the ends is put aside")


def build(options: Options, context: Context) -> Callable[[Sequence[str], Sequence[Sequence[str]]], list[float]]:
    """predictions, references of each -> 0 or 1 each."""

    def plain(text: str) -> str:
        return text.strip() if options.strict else normalised(text)

    def score(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
        return [
            float(plain(text) in {plain(one) for one in own}) for text, own in zip(predictions, references, strict=True)
        ]

    return score

"""Agreement of character n-grams (chrF; Popovic 2015), in [0, 1]; for every language."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pydantic import BaseModel, Field

from penchant.contracts import Context
from penchant.metrics._sacrebleu import library, per_text

__all__ = ["LANGUAGES", "REFERENCES", "Options", "build"]

LANGUAGES, REFERENCES = "any", True  # it compares with references


class Options(BaseModel, extra="forbid"):
    """Whether words count too."""

    word_order: int = Field(0, ge=0, le=4, description="n-grams of words besides; 2 is chrF++")


def build(options: Options, context: Context) -> Callable[[Sequence[str], Sequence[Sequence[str]]], list[float]]:
    """predictions, references of each -> a number in [0, 1] each."""
    return per_text(library().CHRF(word_order=options.word_order))

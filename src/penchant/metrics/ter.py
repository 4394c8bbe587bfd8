"""1 - TER, the share of words that need not be edited (Snover et al. 2006), at least 0."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pydantic import BaseModel, Field

from penchant.contracts import Context
from penchant.metrics._sacrebleu import library, per_text

__all__ = ["LANGUAGES", "REFERENCES", "Options", "build"]

LANGUAGES, REFERENCES = "any", True  # it compares with references


class Options(BaseModel, extra="forbid"):
    """How words are cut."""

    asian_support: bool = Field(False, description="each Chinese or Japanese character is a word")


def build(options: Options, context: Context) -> Callable[[Sequence[str], Sequence[Sequence[str]]], list[float]]:
    """predictions, references of each -> a number in [0, 1] each."""
    own = options.asian_support
    return per_text(library().TER(asian_support=own, normalized=own), lower=True)

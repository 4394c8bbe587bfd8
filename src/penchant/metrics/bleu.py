"""BLEU of single texts (Papineni et al. 2002), smoothed as sacrebleu does (Post 2018), in [0, 1]."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from pydantic import BaseModel, Field

from penchant.contracts import Context
from penchant.metrics._sacrebleu import library, per_text

__all__ = ["LANGUAGES", "REFERENCES", "Options", "build"]

LANGUAGES, REFERENCES = "any", True  # it compares with references


class Options(BaseModel, extra="forbid"):
    """How words are cut."""

    tokenize: Literal["13a", "zh", "char", "intl", "none"] = Field("13a", description="zh for Chinese")


def build(options: Options, context: Context) -> Callable[[Sequence[str], Sequence[Sequence[str]]], list[float]]:
    """predictions, references of each -> a number in [0, 1] each."""
    return per_text(library().BLEU(tokenize=options.tokenize, effective_order=True))

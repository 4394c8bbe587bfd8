"""Repetition: the share of a segment's n-grams of words that are new in it; 1 says nothing twice, 0 nothing new.

The measure of text that goes round in circles; as `distinct-n` of Li et al. 2016 (arXiv:1510.03055), of one text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from pydantic import BaseModel, Field

from penchant.contracts import Context
from penchant.metrics._text import new_share
from penchant.records import Segment

__all__ = ["LANGUAGES", "RANGE", "REMOTE", "Options", "build"]

RANGE = (0.0, 1.0)
LANGUAGES: Literal["any"] = "any"
REMOTE = False


class Options(BaseModel, extra="forbid"):
    """What counts as said again."""

    n: int = Field(3, ge=1, le=20, description="words in an n-gram; Han characters are words of their own")


def build(options: Options, context: Context) -> Callable[[Sequence[Segment]], list[float]]:
    """The signal: each segment by itself; one too short to repeat gets 1."""
    return lambda segments: [new_share(segment.text, options.n) for segment in segments]

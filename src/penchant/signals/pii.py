"""Personal data: minus the number of e-mail addresses, phone numbers, cards, keys ... in a segment; 0 is none.

What has a form is found (`penchant.data.pii`; measured in docs/data.md); names, places and addresses are not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from pydantic import BaseModel, Field

from penchant.contracts import Context
from penchant.data.pii import KINDS, Kind, find
from penchant.records import Segment

__all__ = ["LANGUAGES", "RANGE", "REMOTE", "Options", "build"]

RANGE = (None, 0.0)
LANGUAGES: Literal["any"] = "any"
REMOTE = False


class Options(BaseModel, extra="forbid"):
    """Which kinds count."""

    kinds: list[Kind] = Field(list(KINDS), min_length=1, description="which count; by default all")


def build(options: Options, context: Context) -> Callable[[Sequence[Segment]], list[float]]:
    """The signal: each segment by itself."""
    wanted = set(options.kinds)

    def score(segments: Sequence[Segment]) -> list[float]:
        return [-float(sum(kind in wanted for *_, kind in find(segment.text))) for segment in segments]

    return score

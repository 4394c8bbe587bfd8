"""A number that the data already have: a row's column (a label's probability, a rating), for all of its segments."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from pydantic import BaseModel, Field

from penchant.contracts import Context
from penchant.errors import DataRejected
from penchant.records import Segment

__all__ = ["LANGUAGES", "RANGE", "REMOTE", "Options", "build"]

RANGE = (None, None)
LANGUAGES = "any"
REMOTE = False


class Options(BaseModel, extra="forbid"):
    """Which column, and which way round."""

    column: str = Field("probability", description="the row's column that holds the number")
    lower_is_better: bool = Field(False, description="the score is the number with its sign changed")


def build(options: Options, context: Context) -> Callable[[Sequence[Segment]], list[float]]:
    """The signal.

    Raises (when called):
        DataRejected: a row has no such column, or no finite number there.
    """
    sign = -1.0 if options.lower_is_better else 1.0

    def score(segments: Sequence[Segment]) -> list[float]:
        found = []
        for segment in segments:
            value = segment.columns.get(options.column)
            try:
                number = float(value)  # type: ignore[arg-type]
            except (TypeError, ValueError):
                number = math.nan
            if not math.isfinite(number):
                what = "no" if options.column not in segment.columns else f"{str(value)[:40]!r} in the"
                raise DataRejected(
                    f"a row has {what} column {options.column!r}, which signal column reads",
                    f"give each row a number there; the columns are {', '.join(segment.columns) or 'none'}",
                )
            found.append(sign * number)
        return found

    return score

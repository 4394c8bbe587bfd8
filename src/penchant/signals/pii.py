"""Personal data: minus the number of e-mail addresses, phone numbers, cards, keys ... in a segment; 0 is none.

What has a form is found (`penchant.data.pii`; measured in docs/data.md); names and places by `entities`, where given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from pydantic import BaseModel, Field

from penchant.contracts import Context
from penchant.data.entities import Entity, finder
from penchant.data.pii import KINDS, Kind
from penchant.records import Segment

__all__ = ["LANGUAGES", "RANGE", "REMOTE", "Options", "build"]

RANGE = (None, 0.0)
LANGUAGES: Literal["any"] = "any"
REMOTE = False


class Options(BaseModel, extra="forbid"):
    """Which kinds count."""

    kinds: list[Kind] = Field(list(KINDS), description="which of those with a form count; by default all")
    entities: str | None = Field(
        None, description="a spaCy pipeline (a name or folder) that finds names and places too"
    )
    entity_kinds: list[Entity] = Field(["person", "place"], min_length=1, description="which of its entities count")


def build(options: Options, context: Context) -> Callable[[Sequence[Segment]], list[float]]:
    """The signal: each segment by itself."""
    wanted = {*options.kinds, *options.entity_kinds}
    find = finder(options.entities, options.entity_kinds)

    def score(segments: Sequence[Segment]) -> list[float]:
        return [-float(sum(kind in wanted for *_, kind in find(segment.text))) for segment in segments]

    return score

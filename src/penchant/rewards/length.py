"""1 for a length within bounds, falling in a straight line to 0 at none and at twice the upper bound."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from penchant.contracts import Context
from penchant.metrics.distinct import words
from penchant.records import Completion, Prompt

__all__ = ["Options", "build"]


class Options(BaseModel):
    """Options of the reward."""

    model_config = ConfigDict(extra="forbid")
    low: int = Field(default=1, ge=0, description="from this length on the reward is 1")
    high: int = Field(default=1000, ge=1, description="up to this length")
    unit: Literal["tokens", "words", "characters"] = Field(
        default="tokens", description="tokens leave out inserted ones"
    )


def build(options: Options, context: Context) -> Callable[..., list[float | None]]:
    """The reward, in [0, 1]."""

    def size(completion: Completion) -> int:
        if options.unit == "tokens":
            return len(completion.ids) - int(completion.forced.sum())
        return len(words(completion.text) if options.unit == "words" else completion.text)

    def score(prompts: Sequence[Prompt], completions: Sequence[Completion], **columns: Any) -> list[float | None]:
        found: list[float | None] = []
        for n in map(size, completions):
            below = n / options.low if options.low else 1.0
            found.append(max(0.0, min(1.0, below, 2 - n / options.high)))
        return found

    return score

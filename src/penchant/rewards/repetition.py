"""1 less the share of a completion's n-grams that it has said before; 1 for a text too short to repeat."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pydantic import BaseModel, Field

from penchant.contracts import Context
from penchant.metrics._text import new_share
from penchant.records import Completion, Prompt

__all__ = ["Options", "build"]


class Options(BaseModel, extra="forbid"):
    """What counts as said again."""

    n: int = Field(3, ge=1, le=20, description="words in an n-gram")


def build(options: Options, context: Context) -> Callable[..., list[float | None]]:
    """The reward, in [0, 1]."""

    def score(prompts: Sequence[Prompt], completions: Sequence[Completion], **columns: Any) -> list[float | None]:
        return [new_share(c.text, options.n) for c in completions]

    return score

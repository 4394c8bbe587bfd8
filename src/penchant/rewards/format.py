"""1 where a completion matches a regular expression."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Literal

from pydantic import BaseModel, Field, field_validator

from penchant.contracts import Context
from penchant.records import Completion, Prompt

__all__ = ["Options", "build"]


class Options(BaseModel, extra="forbid"):
    """The expression, and where it must match."""

    pattern: str = Field(r"\S", description="a Python regular expression; . matches line breaks")
    where: Literal["full", "search"] = Field("search", description="the whole text, space at its ends aside, or a part")

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"no regular expression ({error})") from error
        return value


def build(options: Options, context: Context) -> Callable[..., list[float | None]]:
    """The reward, 0 or 1."""
    pattern = re.compile(options.pattern, re.DOTALL)
    match = pattern.fullmatch if options.where == "full" else pattern.search

    def score(prompts: Sequence[Prompt], completions: Sequence[Completion], **columns: Any) -> list[float | None]:
        return [float(match(c.text.strip()) is not None) for c in completions]

    return score

"""1 where the last number of a completion is the right one; commas, units, signs and \\boxed{} are understood."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import BaseModel, Field

from penchant.contracts import Context
from penchant.records import Completion, Prompt
from penchant.rewards._columns import references

__all__ = ["Options", "build", "number_in"]

_NUMBER = re.compile(r"[-+−]?\$?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:\s*/\s*\d+)?%?")


class Options(BaseModel, extra="forbid"):
    """Where the right number stands, and how near is right."""

    column: str = Field("answer", description="the row's column; of GSM8K's answers what follows ####")
    tolerance: float = Field(1e-6, ge=0, allow_inf_nan=False, description="relative distance that is still right")


def number_in(text: str) -> float | None:
    """The answer of a text: in \\boxed{}, after ####, or its last number; None where there is none."""
    for mark in (r"\boxed{", "####"):
        if mark in text:
            text = text.rpartition(mark)[2]
            found = _numbers(text)
            return found[0] if found else None
    found = _numbers(text)
    return found[-1] if found else None


def _numbers(text: str) -> list[float]:
    found = []
    for match in _NUMBER.finditer(text):
        written = match[0].replace(",", "").replace("$", "").replace("−", "-").strip()
        percent, written = written.endswith("%"), written.rstrip("%")
        if not re.search(r"\d", written):
            continue
        top, _, bottom = written.partition("/")
        try:
            value = float(top) / (float(bottom) if bottom else 1.0)
        except (ValueError, ZeroDivisionError):
            continue
        found.append(value / 100 if percent else value)
    return found


def build(options: Options, context: Context) -> Callable[..., list[float | None]]:
    """The reward, 0 or 1; None for a row whose own answer has no number."""

    def one(prompt: Prompt, text: str) -> float | None:
        wanted = [number_in(reference) for reference in references(prompt, options.column, "numeric")]
        right = [x for x in wanted if x is not None]
        if not right:
            return None
        found = number_in(text)
        if found is None:
            return 0.0
        return float(any(abs(found - x) <= options.tolerance * max(1.0, abs(x)) for x in right))

    def score(prompts: Sequence[Prompt], completions: Sequence[Completion], **columns: Any) -> list[float | None]:
        return [one(p, c.text) for p, c in zip(prompts, completions, strict=True)]

    return score

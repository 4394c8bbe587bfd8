"""Any signal as a reward: the mean score of a completion's lines, sentences or whole."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from penchant.contracts import Context
from penchant.records import Completion, Prompt, Segment
from penchant.text.segment import segment_ends

__all__ = ["Options", "build"]


class Options(BaseModel):
    """Options of the reward."""

    model_config = ConfigDict(extra="forbid")
    signal: str = Field(description="the name of the signal")
    options: dict[str, Any] = Field(default_factory=dict, description="its options")
    segments: Literal["line", "sentence", "document"] = Field(default="line", description="what is scored at a time")
    with_prompt: bool = Field(
        default=False, description="let the signal see the prompt's lines before (they are not scored)"
    )


def build(options: Options, context: Context) -> Callable[..., list[float | None]]:
    """The reward, in the signal's own range; None for a completion with nothing but space.

    Raises:
        ValueError: the context cannot build signals.
    """
    if context.build is None:
        raise ValueError("the reward `signal` needs a context that builds signals")
    signal = context.build("signals", options.signal, options.options)

    def one(prompt: Prompt, text: str) -> float | None:
        before = prompt.text if options.with_prompt else ""
        lead = _segments(before, 0, prompt, options.segments)
        own = _segments(text, len(before), prompt, options.segments)
        scores = signal([*lead, *own])[len(lead) :] if own else []
        kept = [s for s, segment in zip(scores, own, strict=True) if segment.text.strip() and math.isfinite(s)]
        return sum(kept) / len(kept) if kept else None

    def score(prompts: Sequence[Prompt], completions: Sequence[Completion], **columns: Any) -> list[float | None]:
        return [one(p, c.text) for p, c in zip(prompts, completions, strict=True)]

    return score


def _segments(text: str, start: int, prompt: Prompt, unit: str) -> list[Segment]:
    ends = segment_ends(text, unit)
    return [Segment(text[a:b], start + a, prompt.columns) for a, b in zip((0, *ends[:-1]), ends, strict=False)]

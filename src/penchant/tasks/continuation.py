"""Go on with a text; judged by any signal, a segment (line or sentence) at a time."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from penchant.contracts import Context, Judgement, Mark, Measure, Signal, Spot
from penchant.records import Document, Prompt, Segment
from penchant.text.segment import segment_ends

__all__ = ["MEASURES", "Continuation", "Options", "build"]

MEASURES = {
    "score": Measure("mean score of the segments by the signal", "higher"),
    "good_rate": Measure("share of segments that score at least the threshold", "higher"),
    "reward": Measure("mean score, 0 at `low` and 1 at `high`, cut off beyond", "higher"),
    "length": Measure("segments that are judged, blank ones left out"),
    "characters": Measure("characters that are judged"),
}
# How a sentence ends that nothing cut off.
_END = re.compile(r"""[.!?…。！？｡]["'”’»›)\]}」』）】》]*\s*$|\n\s*\n\s*$""")


class Options(BaseModel):
    """Options of the task."""

    model_config = ConfigDict(extra="forbid")
    signal: dict[str, Any] = Field(description="name of the signal, and its options beside it")
    segments: Literal["line", "sentence"] = Field(default="line", description="what is scored at a time")
    language: str = Field(default="en", description="whose abbreviations hold for sentences")
    min_chars: int = Field(default=200, ge=1, description="least text before a prompt's end, between two, and after it")
    threshold: float = Field(default=0.0, description="score from which a segment is good")
    low: float = Field(
        default=-1.0, description="mean score that earns reward 0 (a low quantile of the training scores)"
    )
    high: float = Field(default=1.0, description="mean score that earns reward 1 (a high quantile)")

    @model_validator(mode="after")
    def _sane(self) -> Options:
        if "name" not in self.signal:
            raise ValueError("signal needs a name")
        if not self.low < self.high:
            raise ValueError("low must be below high")
        return self


def build(options: Options, context: Context) -> Continuation:
    """The task; its signal is built by the context."""
    if context.build is None:
        raise ValueError("the task `continuation` needs a context that builds signals")
    rest = {key: value for key, value in options.signal.items() if key != "name"}
    return Continuation(context.build("signals", str(options.signal["name"]), rest), options)


class Continuation:
    """The task; see the module's help."""

    measures = MEASURES

    def __init__(self, signal: Signal | Callable[[Sequence[Segment]], list[float]], options: Options):
        self.signal, self.options = signal, options

    def spots(self, document: Document) -> list[Spot]:
        """Ends of the document's segments, at least `min_chars` after its start, before its end, and apart."""
        found, last, least = [], 0, self.options.min_chars
        for end in document.ends:
            if end - last >= least and len(document.text) - end >= least:
                found.append(Spot(end))
                last = end
        return found

    def judge(self, prompt: Prompt, text: str, stop: str) -> Judgement:
        """Score what was written, segment by segment, without the prompt.

        A segment that the token limit cut off ("length") is left out, unless there is no other. Segments whose score is
        not a finite number count nowhere. Nothing to score is reward 0.
        """
        pieces = _split(text, self.options.segments, self.options.language)
        if stop == "length" and len(pieces) > 1 and not _closed(pieces[-1], self.options.segments):
            pieces.pop()
        judged = "".join(pieces)
        starts = [0]
        for piece in pieces:
            starts.append(starts[-1] + len(piece))
        segments = [Segment(piece, start, prompt.columns) for piece, start in zip(pieces, starts, strict=False)]
        values = self.signal(segments) if segments else []
        kept = [(i, v) for i, v in enumerate(values) if pieces[i].strip() and math.isfinite(v)]
        total, good = sum(v for _, v in kept), sum(v >= self.options.threshold for _, v in kept)
        low, high = self.options.low, self.options.high
        reward = min(1.0, max(0.0, (total / len(kept) - low) / (high - low))) if kept else 0.0
        measures = {
            "score": (total, len(kept)),
            "good_rate": (good, len(kept)),
            "reward": (reward, 1),
            "length": (len(kept), 1),
            "characters": (len(judged), 1),
        }
        marks = tuple(
            Mark(judged.count("\n", 0, starts[i]) + 1, "low", f"scores {v:.2g}")
            for i, v in kept
            if v < self.options.threshold
        )
        return Judgement(measures, judged, len(text), marks)


def _split(text: str, unit: str, language: str) -> list[str]:
    ends = segment_ends(text, unit, language)
    return [text[a:b] for a, b in zip((0, *ends[:-1]), ends, strict=False)]


def _closed(segment: str, unit: str) -> bool:
    """Whether a segment ends by itself and not by the token limit."""
    return segment.endswith("\n") if unit == "line" else _END.search(segment) is not None

"""The probability of a label by a classifier that `penchant signal train` made: sentiment, toxicity, any quality."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import BaseModel, Field

from penchant.contracts import Context
from penchant.errors import InputError
from penchant.records import Segment

__all__ = ["LANGUAGES", "RANGE", "REMOTE", "Options", "build"]

RANGE = (-1.0, 1.0)  # from 0 on, or up to 0 where it counts against
LANGUAGES = "any"  # that of its training data; the folder's card says which
REMOTE = False


class Options(BaseModel, extra="forbid"):
    """Which classifier, and which label is good."""

    model: str = Field(description="the folder of a trained classifier")
    label: str | None = Field(None, description="whose probability the score is; null: the last label")
    against: bool = Field(False, description="the label is bad: the score is minus its probability, 0 at best")
    empty: float = Field(0.5, ge=0, le=1, description="the probability in a segment without a letter or digit")


def build(options: Options, context: Context) -> Callable[[Sequence[Segment]], list[float]]:
    """The signal: each segment by itself.

    Raises:
        InputError: no classifier there, or no such label.
        MissingExtra: scikit-learn is not installed.
    """
    from penchant.signals._linear import load

    model = load(Path(options.model))
    label = model.labels[-1] if options.label is None else options.label
    if label not in model.labels:
        raise InputError(f"signal classifier: no label {label!r}", f"the labels are {', '.join(model.labels)}")
    place, sign = model.labels.index(label), -1.0 if options.against else 1.0

    def score(segments: Sequence[Segment]) -> list[float]:
        full = [i for i, segment in enumerate(segments) if any(c.isalnum() for c in segment.text)]
        found = [sign * options.empty] * len(segments)
        for i, p in zip(full, model.probabilities([segments[i].text for i in full]), strict=True):
            found[i] = sign * float(p[place])
        return found

    return score

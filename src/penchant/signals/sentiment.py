"""Sentiment of English text by VADER: from -1 (negative) to 1 (positive), offline.

VADER: "A Parsimonious Rule-based Model for Sentiment Analysis of Social Media Text" (Hutto and Gilbert, ICWSM 2014);
the score is its `compound`. It is made for sentences; a long segment drifts to -1 or 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pydantic import BaseModel, ConfigDict

from penchant.contracts import Context
from penchant.errors import MissingExtra
from penchant.records import Segment

__all__ = ["LANGUAGES", "RANGE", "REMOTE", "Options", "build"]

RANGE = (-1.0, 1.0)
LANGUAGES: Sequence[str] = ("en",)
REMOTE = False


class Options(BaseModel):
    """Options of the signal."""

    model_config = ConfigDict(extra="forbid")
    negate: bool = False  # prefer gloom


def build(options: Options, context: Context) -> Callable[[Sequence[Segment]], list[float]]:
    """The signal: VADER's compound of each segment by itself.

    Raises:
        MissingExtra: vaderSentiment is not installed.
    """
    try:
        from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer
    except ImportError as error:
        raise MissingExtra("signal sentiment", "text") from error
    analyzer = SentimentIntensityAnalyzer()
    sign = -1.0 if options.negate else 1.0

    def score(segments: Sequence[Segment]) -> list[float]:
        return [sign * float(analyzer.polarity_scores(segment.text)["compound"]) for segment in segments]

    return score

"""Score every segment of documents with the signals handed in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from penchant.contracts import Signal
from penchant.errors import DataRejected
from penchant.records import Document, Segment

__all__ = ["check_constant", "score"]


def score(documents: Sequence[Document], signals: Mapping[str, Signal]) -> list[Document]:
    """The documents with `scores` filled in.

    Raises:
        DataRejected: a signal gave another number of scores than there are segments, or a score that is not finite.
    """
    return [replace(document, scores=_scores(document, signals)) for document in documents]


def _scores(document: Document, signals: Mapping[str, Signal]) -> dict[str, tuple[float, ...]]:
    starts = (0, *document.ends[:-1])
    segments = [Segment(text, start, document.columns) for text, start in zip(document.segments(), starts, strict=True)]
    return {name: _checked(name, signal(segments), document) for name, signal in signals.items()}


def _checked(name: str, scores: Sequence[float], document: Document) -> tuple[float, ...]:
    if len(scores) != len(document.ends):
        raise DataRejected(
            f"signal {name} gave {len(scores)} scores for {len(document.ends)} segments",
            "a signal gives one float a segment",
            file=document.source,
        )
    # As they will be read back, so that a threshold taken from them cuts the same before and after.
    with np.errstate(over="ignore"):  # too large becomes infinite, which is refused below
        stored = tuple(np.asarray(scores, dtype=np.float32).tolist())
    if not all(map(math.isfinite, stored)):
        raise DataRejected(f"signal {name} gave a score that is not finite", "mend the signal", file=document.source)
    return stored


def check_constant(between: Mapping[str, tuple[float, float]], segments: int) -> None:
    """Stop where a signal tells nothing.

    Args:
        between: least and greatest score of each signal.
        segments: how many were scored.

    Raises:
        DataRejected: every segment got the same score, so that no preference can be learned.
    """
    for name, (least, greatest) in between.items():
        if least == greatest and segments > 1:
            raise DataRejected(
                f"signal {name} scores every segment the same ({least:g}), so there is nothing to prefer",
                "choose another signal or other options in data.signals, or a finer data.segment",
            )

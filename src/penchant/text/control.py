"""Control tokens: from scores to labels, and a document's tokens with a label's token before each segment."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from penchant.errors import InputError
from penchant.records import Document
from penchant.text.tokenizer import Tokenizer

__all__ = ["BAD", "GOOD", "Bins", "encode_document", "encode_scored", "resolve_threshold", "scores_of"]

GOOD, BAD = "good", "bad"


@dataclass(frozen=True)
class Bins:
    """What a control token says of a segment: of each signal, between which thresholds its score lies.

    Attributes:
        signals: their names.
        edges: of each signal, rising thresholds: n of them make n + 1 bins; a score on one is in the higher bin.
    """

    signals: tuple[str, ...]
    edges: tuple[tuple[float, ...], ...]

    @classmethod
    def two(cls, signal: str, threshold: float) -> Bins:
        """Good from the threshold on, else bad."""
        return cls((signal,), ((threshold,),))

    @property
    def names(self) -> tuple[str, ...]:
        """All tokens' names, the wanted one first: good, middle, bad; of several signals pep8:good,length:bad."""
        return tuple(map(self._name, itertools.product(*(range(len(own) + 1) for own in self.edges))))

    def of(self, document: Document) -> list[str]:
        """The token's name for each segment.

        Raises:
            InputError: as `scores_of`.
        """
        each = [
            len(edges) - np.searchsorted(edges, scores_of(document, signal), side="right")
            for signal, edges in zip(self.signals, self.edges, strict=True)
        ]
        return [self._name(places) for places in zip(*(own.tolist() for own in each), strict=True)]

    def _name(self, places: Sequence[int]) -> str:
        """Of the bin that is `places[k]` below the best of signal k."""
        said = [_bin(place, len(own)) for place, own in zip(places, self.edges, strict=True)]
        if len(said) == 1:
            return said[0]
        return ",".join(f"{signal}:{one}" for signal, one in zip(self.signals, said, strict=True))


def _bin(place: int, last: int) -> str:
    middle = "middle" if last == 2 else f"middle{place}"
    return GOOD if place == 0 else BAD if place == last else middle


def resolve_threshold(threshold: float | str, summary: Mapping[str, Any], signal: str, of: str = "quantiles") -> float:
    """A threshold as a number: itself, or a quantile of the signal's scores on train.

    Args:
        threshold: a number, "median", or "qX" with X a quantile that `prepare` wrote (0.05, 0.75 ...).
        summary: `summary.json` of `prepare`.
        signal: the signal's name.
        of: `quantiles` of segments, or `document_quantiles` of documents' means.

    Raises:
        InputError: no such signal or quantile.
    """
    known = summary.get("signals", {})
    if signal not in known:
        raise InputError(
            f"the data have no scores of a signal {signal!r}",
            f"there are {', '.join(known) or 'none'}; see data.signals",
        )
    if isinstance(threshold, int | float):
        return float(threshold)
    quantiles = known[signal].get(of, {})
    try:
        wanted = 0.5 if threshold == "median" else float(threshold.removeprefix("q"))
        if threshold != "median" and not threshold.startswith("q"):
            return wanted  # a number written as text
    except ValueError:
        wanted = -1.0
    for key, value in quantiles.items():
        if float(key) == wanted:
            return float(value)
    raise InputError(
        f"threshold {threshold!r} is neither a number nor a quantile of {signal}",
        f'give a number, "median", or one of {", ".join(f"q{key}" for key in quantiles)}',
    )


def scores_of(document: Document, signal: str) -> tuple[float, ...]:
    """A signal's score of each segment.

    Raises:
        InputError: the document has no scores of that signal.
    """
    if signal not in document.scores:
        raise InputError(
            f"no scores of signal {signal!r}",
            f"there are {', '.join(document.scores) or 'none'}; name it in data.signals",
            file=document.source,
        )
    return document.scores[signal]


def encode_scored(document: Document, tokenizer: Tokenizer, signal: str) -> tuple[np.ndarray, np.ndarray]:
    """Token ids of a document, cut as `encode_document` cuts it, and for each token its segment's score.

    Returns:
        ids int32 [T], scores float32 [T].

    Raises:
        InputError: as `scores_of`.
    """
    encoded = tokenizer.encode_batch(document.segments() if document.ends else [])
    ids = np.array([i for piece in encoded for i in piece], dtype=np.int32)
    scores = np.repeat(np.asarray(scores_of(document, signal), np.float32), [len(piece) for piece in encoded])
    return ids, scores


def encode_document(
    document: Document, tokenizer: Tokenizer, labels: Sequence[str] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Token ids of a document, segment by segment, so that labels never change how the text itself is cut.

    Args:
        document: with its segments.
        tokenizer: whose `control_ids` know every label.
        labels: one a segment; its token stands before the segment. None: no control tokens.

    Returns:
        ids int32 [T], control bool [T] (True at control tokens). No end token is added.

    Raises:
        ValueError: not one label a segment.
        KeyError: a label has no control token.
    """
    segments = document.segments() if document.ends else []
    encoded = tokenizer.encode_batch(segments)
    if labels is None:
        ids = np.array([i for piece in encoded for i in piece], dtype=np.int32)
        return ids, np.zeros(len(ids), dtype=bool)
    if len(labels) != len(segments):
        raise ValueError(f"{len(labels)} labels for {len(segments)} segments")
    flat: list[int] = []
    starts: list[int] = []
    for label, piece in zip(labels, encoded, strict=True):
        starts.append(len(flat))
        flat.append(tokenizer.control_ids[label])
        flat.extend(piece)
    control = np.zeros(len(flat), dtype=bool)
    control[starts] = True
    return np.array(flat, dtype=np.int32), control

"""Perplexity and bits a byte on held-out text, over the same characters for every model and way of asking.

Windows are stretches of text, cut so that none has more tokens than the models were trained on at once: in any of their
tokenizers, control tokens included. The first few characters of a window are only read, since nothing stands before
them; all others are scored. What is scored is one text, cut in the same places, whatever is asked; so a model with
control tokens sees no more text than one without, and models with different tokenizers can be compared by the byte.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from penchant.evaluation.evaluate import Ratio
from penchant.records import Document
from penchant.text.tokenizer import Tokenizer

__all__ = ["LogProbs", "Span", "Window", "choose", "cut", "encode", "held_out", "measure"]

LogProbs = Callable[[list[list[int]]], list[np.ndarray]]
Labels = Callable[[Document], Sequence[str]]

# Where a window may begin and end: before white space, and within long words. Every text is a run of these.
_PIECE = re.compile(r"\s{0,16}\S{1,12}|\s{1,16}")


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a document's text: read from `start`, scored from `scored`, up to `end`; about `tokens` of them."""

    start: int
    scored: int
    end: int
    tokens: int


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """A span as tokens: ids int [T]; control, scored (content alone) bool [T]; and how many bytes are scored."""

    source: str
    ids: np.ndarray
    control: np.ndarray
    scored: np.ndarray
    bytes: int


def cut(document: Document, tokenizers: Sequence[Tokenizer], controls: bool, size: int) -> tuple[list[Span], int]:
    """Spans without overlap that have at most `size` tokens in each tokenizer; and how many characters no span holds.

    Args:
        controls: leave room for a control token before each segment.
        size: tokens of a window at most.
    """
    if not document.text:
        return [], 0
    # Segments are encoded one by one, as in training, so that a piece ends where one of them does.
    ends = sorted({*document.ends, *(match.end() for match in _PIECE.finditer(document.text))})
    starts = [0, *ends[:-1]]
    pieces = [document.text[a:b] for a, b in zip(starts, ends, strict=True)]
    begun = np.isin(starts, [0, *document.ends[:-1]] if controls else []).astype(np.int64)
    counts = [np.array([len(ids) for ids in t.encode_batch(pieces)], np.int64) for t in tokenizers]
    totals = [np.concatenate([[0], np.cumsum(count + begun)]) for count in counts]
    spans, at, left_out = [], 0, 0
    while at < len(pieces):
        to = min(int(np.searchsorted(total, total[at] + size, "right")) - 1 for total in totals)
        if to - at < 2:
            left_out += ends[max(to, at + 1) - 1] - starts[at]
        else:
            spans.append(Span(starts[at], ends[at], ends[to - 1], int(counts[0][at + 1 : to].sum())))
        at = max(to, at + 1)
    return spans, left_out


def encode(
    document: Document, spans: Sequence[Span], tokenizer: Tokenizer, labels: Sequence[str] | None
) -> list[Window]:
    """Spans of one document as tokens, segment by segment; with labels, a control token where a segment begins."""
    begins = [0, *document.ends[:-1]]
    cuts: list[list[int]] = []
    for span in spans:
        inner = document.ends[bisect_right(document.ends, span.start) : bisect_left(document.ends, span.end)]
        cuts.append(sorted({span.start, span.scored, span.end, *inner}))
    texts = [document.text[a:b] for places in cuts for a, b in pairwise(places)]
    encoded = iter(tokenizer.encode_batch(texts))
    windows = []
    for span, places in zip(spans, cuts, strict=True):
        ids: list[int] = []
        control: list[bool] = []
        scored: list[bool] = []
        for place in places[:-1]:
            segment = bisect_left(begins, place)
            if labels is not None and segment < len(begins) and begins[segment] == place:
                ids.append(tokenizer.control_ids[labels[segment]])
                control.append(True)
                scored.append(False)
            piece = next(encoded)
            ids += piece
            control += [False] * len(piece)
            scored += [place >= span.scored] * len(piece)
        size = len(document.text[span.scored : span.end].encode("utf-8", "replace"))
        windows.append(Window(document.source, np.array(ids), np.array(control), np.array(scored), size))
    return windows


def choose(count: Sequence[int], tokens: int, random: np.random.Generator) -> list[int]:
    """Which windows, in a random order until they hold `tokens` of them, put back into their own order."""
    kept, total = [], 0
    for i in random.permutation(len(count)):
        if total >= tokens:
            break
        kept.append(int(i))
        total += count[i]
    return sorted(kept)


def held_out(
    documents: Sequence[Document],
    tokenizers: Mapping[str, Tokenizer],
    labels: Mapping[str, Labels],
    size: int,
    tokens: int,
    random: np.random.Generator,
) -> tuple[dict[str, list[Window]], dict[str, Any]]:
    """The same windows in each tokenizer, about `tokens` of the first; and what is to be said of them.

    Args:
        tokenizers: by a name; one without `labels` gives windows without control tokens.
        labels: the labels of a document's segments, by the same names.
        size: tokens of a window at most.
    """
    places: list[tuple[Document, Span]] = []
    left_out = 0
    for document in documents:
        spans, missed = cut(document, list(tokenizers.values()), bool(labels), size)
        places += [(document, span) for span in spans]
        left_out += missed
    places = [places[i] for i in choose([span.tokens for _, span in places], tokens, random)]
    found: dict[str, list[Window]] = {}
    for name, tokenizer in tokenizers.items():
        found[name] = []
        for document, spans in _by_document(places):
            told = labels[name](document) if name in labels else None
            found[name] += encode(document, spans, tokenizer, told)
    # A text can have more tokens than its pieces have one by one; such a window is left out for all.
    long = {i for windows in found.values() for i, window in enumerate(windows) if len(window.ids) > size}
    kept = {name: [w for i, w in enumerate(windows) if i not in long] for name, windows in found.items()}
    facts = {"window": size, "windows": len(places) - len(long)}
    return kept, facts | {k: v for k, v in (("windows_left_out", len(long)), ("characters_left_out", left_out)) if v}


def _by_document(places: Sequence[tuple[Document, Span]]) -> list[tuple[Document, list[Span]]]:
    found: list[tuple[Document, list[Span]]] = []
    for document, span in places:
        if not found or found[-1][0] is not document:
            found.append((document, []))
        found[-1][1].append(span)
    return found


def measure(windows: Sequence[Window], logprobs: LogProbs, labelled: bool) -> dict[str, Ratio]:
    """`perplexity` (a scored token) and `bits_per_byte`, as sums a window.

    Args:
        logprobs: natural log-prob of each token given those before, [len - 1] a sequence.
        labelled: let the model see the control tokens; their own log-probs are not counted either way.
    """
    seen = [np.ones(len(w.ids), bool) if labelled else ~w.control for w in windows]
    found = logprobs([w.ids[mask].tolist() for w, mask in zip(windows, seen, strict=True)])
    nll, count = (np.zeros(len(windows)) for _ in range(2))
    for i, (window, mask, values) in enumerate(zip(windows, seen, found, strict=True)):
        scored = np.flatnonzero(window.scored[mask])
        nll[i] = -np.asarray(values, float)[scored - 1].sum()
        count[i] = len(scored)
    sources = tuple(w.source for w in windows)
    size = np.array([w.bytes for w in windows], float)
    return {
        "perplexity": Ratio(nll, count, sources, np.exp),
        "bits_per_byte": Ratio(nll / np.log(2), size, sources),
    }

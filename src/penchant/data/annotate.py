"""Score every segment of every document with the signals handed in, over processes where that pays."""

from __future__ import annotations

import math
import multiprocessing
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace

import numpy as np

from penchant.contracts import Signal
from penchant.errors import DataRejected
from penchant.records import Document, Segment

__all__ = ["annotate", "check_constant"]

Maker = Callable[[], Mapping[str, Signal]]
Scores = dict[str, tuple[float, ...]]

_WORTH_A_PROCESS = 1_000_000  # characters; starting a process costs about half a second
_CHUNK = 200_000  # characters a piece of work


def annotate(
    documents: Sequence[Document],
    make: Maker,
    workers: int = 1,
    progress: Callable[[int], None] | None = None,
) -> list[Document]:
    """The documents with `scores` filled in; the result does not depend on `workers`.

    Args:
        documents: with segments.
        make: makes the signals, by name; it is called once in each process, and so must survive pickling.
        workers: processes at most; few documents are scored in this one.
        progress: told the number of documents that are done, now and then; may raise to stop.

    Raises:
        DataRejected: a signal gave another number of scores than there are segments, or a score that is not finite.
    """
    # The longest first, so that no worker is left alone with a long one at the end.
    order = sorted(range(len(documents)), key=lambda k: (-len(documents[k].text), k))
    size = sum(len(d.text) for d in documents)
    workers = min(workers, 1 + size // _WORTH_A_PROCESS)
    scored: dict[int, Scores] = {}
    if workers > 1:
        try:
            scored = _in_processes(documents, order, make, workers, progress)
        except BrokenProcessPool:  # no memory, or a main script that cannot be imported again: do it here
            scored = {}
    if not scored:
        signals = make()
        for done, k in enumerate(order):
            scored[k] = _score(documents[k], signals)
            if progress and done % 16 == 0:
                progress(done)
    return [replace(document, scores=scored[k]) for k, document in enumerate(documents)]


def _in_processes(
    documents: Sequence[Document],
    order: Sequence[int],
    make: Maker,
    workers: int,
    progress: Callable[[int], None] | None,
) -> dict[int, Scores]:
    pieces: list[list[int]] = [[]]
    room = _CHUNK
    for k in order:
        if pieces[-1] and room < len(documents[k].text):
            pieces.append([])
            room = _CHUNK
        pieces[-1].append(k)
        room -= len(documents[k].text)
    # Not fork: the parent may have threads (pyarrow's), which a forked child would miss.
    start = multiprocessing.get_context("spawn")
    scored: dict[int, Scores] = {}
    pool = ProcessPoolExecutor(workers, mp_context=start, initializer=_begin, initargs=(make,))
    try:
        futures: list[tuple[list[int], Future[list[Scores]]]] = [
            (piece, pool.submit(_score_many, [documents[k] for k in piece])) for piece in pieces
        ]
        for piece, future in futures:
            for k, scores in zip(piece, future.result(), strict=True):
                scored[k] = scores
            if progress:
                progress(len(scored))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return scored


_signals: Mapping[str, Signal] = {}  # a worker process's own


def _begin(make: Maker) -> None:
    global _signals
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _signals = make()


def _end_with_parent() -> None:
    """A parent killed outright cannot end its workers, and they would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _score_many(documents: Sequence[Document]) -> list[Scores]:
    return [_score(document, _signals) for document in documents]


def _score(document: Document, signals: Mapping[str, Signal]) -> Scores:
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


def check_constant(documents: Sequence[Document]) -> None:
    """Stop where a signal tells nothing.

    Raises:
        DataRejected: every segment got the same score, so that no preference can be learned.
    """
    for name in documents[0].scores if documents else ():
        values = {score for document in documents for score in document.scores[name]}
        if len(values) == 1 and sum(len(document.ends) for document in documents) > 1:
            raise DataRejected(
                f"signal {name} scores every segment the same ({values.pop():g}), so there is nothing to prefer",
                "choose another signal or other options in data.signals, or a finer data.segment",
            )

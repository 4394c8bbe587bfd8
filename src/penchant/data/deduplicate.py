"""Drop exact and near duplicates; of each group the first stays, in whatever pieces and by however many processes.

Near duplicates are found by MinHash ("On the resemblance and containment of documents", Broder, 1997) with
locality-sensitive hashing, then checked: only a Jaccard similarity of 5-word shingles of at least the threshold counts.
What is held for each document is a digest and a few numbers; sketches and texts stay on disk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import rensa

from penchant.data.words import hashed_words

__all__ = [
    "PERMUTATIONS", "SKETCH_BYTES", "Duplicate", "candidates", "digest", "exact", "pairs_to_check", "repeats",
    "resolve", "shingles", "similarities", "sketches",
]  # fmt: skip

PERMUTATIONS = 128
# 32 bands of 4 rows find a pair of Jaccard .8 in all but one of 10^7 cases; the exact check throws out the rest.
_BANDS = 32
_ROWS = PERMUTATIONS // _BANDS
SKETCH_BYTES = 4 * PERMUTATIONS
_AT_ONCE = 4  # bands in memory
# In a large bucket a document is compared with the first and the nearest before it, not with all: a template that
# thousands of pages share would else cost the square of their number.
_FIRST, _NEAREST = 8, 8
# Standard deviations that a sketch's estimate may lie below the threshold and the pair still be checked.
_DOUBT = 4.0
_WIDTH = 5
_MIX = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Row `index` repeats row `of`: exactly (similarity 1) or nearly."""

    index: int
    of: int
    cause: str
    similarity: float


def digest(text: str) -> bytes:
    """16 bytes that stand for a text, white space at its ends aside."""
    return hashlib.sha256(text.strip().encode()).digest()[:16]


def shingles(texts: Sequence[str]) -> list[np.ndarray]:
    """For each text the hashes of its runs of 5 words (of all words, if fewer): sorted uint64, none twice; empty if
    there are no words.
    """
    runs, ends = _runs(texts)
    return [np.unique(one) for one in np.split(runs, ends[1:-1])] if texts else []


def sketches(texts: Sequence[str]) -> list[bytes | None]:
    """The MinHash sketch of each text, uint32 [128] as bytes; None for a text without words."""
    runs, ends = _runs(texts)
    rows = rensa.RMinHash.digest_matrix_from_flat_token_hashes(runs, ends.astype(np.uint64), PERMUTATIONS, 0).to_rows()
    table = np.array(rows, np.uint32).reshape(len(texts), PERMUTATIONS)
    return [row.tobytes() if n else None for row, n in zip(table, np.diff(ends), strict=True)]


def _runs(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of the runs of words, one text after another (uint64), and where each text's begin, int64 [n + 1]."""
    words, which = hashed_words(texts)
    count = np.bincount(which, minlength=len(texts))
    total = np.zeros(len(words), np.uint64)
    inside = np.ones(len(words), bool)
    for k in range(_WIDTH):
        reach = max(0, len(words) - k)
        inside[reach:] = False
        inside[:reach] &= which[k:] == which[:reach]
        new = (total[inside] ^ words[np.flatnonzero(inside) + k]) * _MIX
        total[inside] = new ^ (new >> np.uint64(29))
    first = np.r_[True, which[1:] != which[:-1]] if len(words) else inside
    kept = inside | (first & (count[which] < _WIDTH))
    return total[kept], np.r_[0, np.cumsum(np.bincount(which[kept], minlength=len(texts)))].astype(np.int64)


def repeats(
    digests: np.ndarray,
    worded: np.ndarray,
    sketched: Callable[[np.ndarray, slice], np.ndarray],
    compared: Callable[[np.ndarray], Iterable[tuple[int, int, float]]],
    threshold: float | None,
) -> Iterator[Duplicate]:
    """Which documents repeat an earlier one: the exact ones first, then near duplicates, each in order.

    Args:
        digests: S16 [n], see `digest`.
        worded: bool [n], whether a document has words, and so a sketch.
        sketched: (int64 [m] documents, a slice of columns) -> their sketches, uint32 [m, columns].
        compared: int64 [pairs, 2] -> (earlier, later, similarity) of each, in order.
        threshold: None: exact duplicates only.
    """
    first = exact(digests)
    again = first != np.arange(len(first))
    yield from (Duplicate(int(k), int(first[k]), "exact duplicate", 1.0) for k in np.flatnonzero(again))
    if threshold is None:
        return
    ids = np.flatnonzero(worded & ~again)
    pairs = pairs_to_check(
        candidates(lambda part: sketched(ids, part), ids), lambda at: sketched(at, slice(None)), threshold
    )
    yield from resolve(compared(pairs), threshold, len(first))


def exact(digests: np.ndarray) -> np.ndarray:
    """For each of S16 [n] the first index with the same digest: int64 [n]."""
    _, first, which = np.unique(digests, return_index=True, return_inverse=True)
    return first[which]


def candidates(sketched: Callable[[slice], np.ndarray], ids: np.ndarray) -> np.ndarray:
    """Pairs that share a band, as int64 [pairs, 2], (earlier, later), sorted by the later one.

    Args:
        sketched: columns of the sketches of the documents asked for: slice -> uint32 [n, columns].
        ids: int64 [n], rising; the documents' numbers, which the pairs are given in.
    """
    found = np.zeros(0, np.int64)
    for begin in range(0, PERMUTATIONS, _ROWS * _AT_ONCE):
        block = sketched(slice(begin, begin + _ROWS * _AT_ONCE))
        for k in range(0, block.shape[1], _ROWS):
            found = np.union1d(found, _in_buckets(_bucket(block[:, k : k + _ROWS])))
    pairs = np.stack([found & 0xFFFFFFFF, found >> 32], axis=1)
    return ids[pairs] if len(pairs) else pairs


def _bucket(columns: np.ndarray) -> np.ndarray:
    key = np.zeros(len(columns), np.uint64)
    for column in columns.T:
        key = (key ^ column.astype(np.uint64)) * _MIX
        key ^= key >> np.uint64(31)
    return key


def _in_buckets(keys: np.ndarray) -> np.ndarray:
    """(later << 32 | earlier) of pairs with the same key: with the first and with the nearest before it."""
    order = np.argsort(keys, kind="stable")
    same = keys[order]
    begins = np.flatnonzero(np.r_[True, same[1:] != same[:-1]]) if len(same) else np.zeros(0, np.int64)
    start = np.repeat(begins, np.diff(np.r_[begins, len(same)]))  # of each place, where its bucket begins
    places = np.flatnonzero(np.arange(len(same)) > start)
    pairs = []
    for step in range(1, _NEAREST + 1):
        near = places[places - step >= start[places]]
        pairs.append(order[near] << 32 | order[near - step])
    for step in range(_FIRST):
        far = places[places - _NEAREST > start[places] + step]
        pairs.append(order[far] << 32 | order[start[far] + step])
    return np.concatenate(pairs)


def pairs_to_check(pairs: np.ndarray, rows: Callable[[np.ndarray], np.ndarray], threshold: float) -> np.ndarray:
    """The pairs whose sketches do not rule a similarity of `threshold` out.

    Args:
        rows: int64 [n] documents -> their sketches, uint32 [n, 128].
    """
    least = threshold - _DOUBT * float(np.sqrt(threshold * (1 - threshold) / PERMUTATIONS))
    kept = [np.zeros((0, 2), np.int64)]
    for k in range(0, len(pairs), 8192):
        block = pairs[k : k + 8192]
        kept.append(block[(rows(block[:, 0]) == rows(block[:, 1])).mean(1) >= least])
    return np.concatenate(kept)


def similarities(texts: Sequence[str], pairs: np.ndarray) -> list[float]:
    """Jaccard similarity of the shingles of each pair of texts, int64 [pairs, 2]."""
    runs = shingles(texts)
    found = []
    for i, j in pairs.tolist():
        shared = len(np.intersect1d(runs[i], runs[j], assume_unique=True))
        found.append(shared / max(1, len(runs[i]) + len(runs[j]) - shared))
    return found


def resolve(pairs: Iterable[tuple[int, int, float]], threshold: float, count: int) -> Iterator[Duplicate]:
    """Near duplicates among (earlier, later, similarity), sorted by the later one: each is dropped in favour of the
    most similar document before it that stays.

    Args:
        count: documents; they are numbered below it.
    """
    gone = bytearray(count)
    at, best = -1, (0.0, 0)
    for i, j, similarity in chain(pairs, [(-1, -1, 0.0)]):
        if j != at:
            if best[0] >= threshold:
                gone[at] = 1
                yield Duplicate(at, -best[1], "near duplicate", best[0])
            at, best = j, (0.0, 0)
        if j >= 0 and not gone[i]:
            best = max(best, (similarity, -i))

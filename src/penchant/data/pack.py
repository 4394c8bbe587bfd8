"""Token sequences -> a flat Batch: next-token labels, masks and columns aligned once, for every stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from penchant.records import Batch

__all__ = ["cut_windows", "next_token_batch"]


def next_token_batch(
    sequences: Sequence[np.ndarray],
    keep: Sequence[np.ndarray] | None = None,
    columns: Mapping[str, Sequence[np.ndarray]] | None = None,
    temperature: float = 1.0,
    banned: tuple[int, ...] = (),
) -> Batch:
    """A batch in which each token of each sequence, but the first, is asked for given those before it.

    Args:
        sequences: S arrays of at least 2 token ids; the last token of each is only a label.
        keep: for each sequence bool [n], False where that token is no label (a control token, a prompt).
        columns: name -> for each sequence float [n], aligned with its tokens (the first entry is unused).
        temperature, banned: the policy's, see Batch.

    Raises:
        ValueError: a sequence has fewer than 2 tokens.
    """
    if any(len(s) < 2 for s in sequences):
        raise ValueError("each sequence needs at least 2 tokens")
    lengths = np.array([len(s) - 1 for s in sequences], dtype=np.int64)
    inputs = np.concatenate([s[:-1] for s in sequences]).astype(np.int64)
    labels = np.concatenate([s[1:] for s in sequences]).astype(np.int64)
    positions = np.concatenate([np.arange(n) for n in lengths])
    unit = np.repeat(np.arange(len(sequences)), lengths)
    at = np.arange(len(inputs))
    flat = {k: np.concatenate([a[1:] for a in v]).astype(np.float32) for k, v in (columns or {}).items()}
    if keep is not None:
        kept = np.concatenate([k[1:] for k in keep]).astype(bool)
        labels, at, unit = labels[kept], at[kept], unit[kept]
        flat = {k: v[kept] for k, v in flat.items()}
    return Batch(inputs, positions, lengths, labels, at, unit, flat, temperature, banned)


def cut_windows(ids: np.ndarray, control: np.ndarray, context: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Cut one document into windows of at most `context` inputs, neighbours sharing one token.

    Every token but the first is a label in exactly one window. A remainder of fewer than 2 tokens is no window.

    Args:
        ids: int [n]; control: bool [n], True at control tokens.

    Returns:
        (ids, keep) pairs; keep is False at control tokens.
    """
    return [(ids[a : a + context + 1], ~control[a : a + context + 1]) for a in range(0, len(ids) - 1, context)]

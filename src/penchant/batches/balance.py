"""Weights of pairs under which length alone tells nothing of what is preferred."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from penchant.batches.rows import Item
from penchant.errors import DataRejected

__all__ = ["by_length", "preferred_longer"]


def preferred_longer(items: Sequence[Item]) -> np.ndarray:
    """int [pairs]: 1 where the preferred answer has more tokens, -1 where it has fewer, 0 where neither or a tie.

    Preferred is the chosen one, but where its `probability` is below one half; one half is a tie.
    """
    gap = np.array([len(item.completions[0]) - len(item.completions[1]) for item in items])
    soft = np.array([float(item.columns["probability"][0][0]) if "probability" in item.columns else 1.0
                     for item in items])  # fmt: skip
    return np.sign(gap) * np.sign(soft - 0.5).astype(int)


def by_length(items: Sequence[Item]) -> list[Item]:
    """Pairs with a column `weight`, mean 1: those whose longer answer is preferred weigh as much in all as the others.

    Where neither is longer, or raters tied, a pair weighs 1.

    Raises:
        DataRejected: the longer answer (or the shorter one) is always preferred, so that there is nothing to balance.
    """
    side = preferred_longer(items)
    counts = {sign: int((side == sign).sum()) for sign in (1, -1)}
    if 0 in counts.values():
        which = "longer" if counts[1] else "shorter"
        raise DataRejected(
            f"the {which} answer is preferred in every pair, so that length cannot be balanced",
            "give pairs of both kinds, or leave length_balance out",
        )
    half = sum(counts.values()) / 2
    weights = [half / counts[sign] if sign else 1.0 for sign in side.tolist()]
    return [
        replace(
            item, columns={**item.columns, "weight": tuple(np.full(len(c), w, np.float32) for c in item.completions)}
        )
        for item, w in zip(items, weights, strict=True)
    ]

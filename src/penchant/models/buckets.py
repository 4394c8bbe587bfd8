"""How flat tokens unfold for attention: sequences of like length together, a shared prompt held once.

A sequence may have another one as its prefix (a prompt shared by its pair or group): its keys then stand before the
sequence's own, right-aligned, and its tokens pass through the layers only once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

__all__ = ["Bucket", "buckets", "spread"]

FILL = 0.7  # a bucket holds sequences at least this share of its longest


@dataclass(frozen=True)
class Bucket:
    """S sequences as rows of L queries and reach + L keys.

    Attributes:
        rows, longest, reach: S, L, and the places kept for prefixes.
        token: int64 [n], the flat tokens in it; None for all, in order.
        place: int64 [n], the query place s * L + l of each.
        key_place: int64 [n], its key place s * (reach + L) + reach + l.
        prefix: (flat token, key place) of each prefix token, int64 [m] each; None where there are none.
        start: int64 [S], the first key place of each row that is filled; None without prefixes.
        full: whether every place is filled.
    """

    rows: int
    longest: int
    reach: int
    token: Tensor | None
    place: Tensor
    key_place: Tensor
    prefix: tuple[Tensor, Tensor] | None
    start: Tensor | None
    full: bool

    def new_rows(self, like: Tensor, groups: int, group: int, width: int, keys: bool = False) -> Tensor:
        """[S, groups, L or reach + L, group, width] in the format of `like`; zeros where places stay unfilled."""
        make = like.new_empty if self.full and not self.reach else like.new_zeros
        return make(self.rows, groups, self.longest + (self.reach if keys else 0), group, width)


def spread(starts: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For ranges start .. start + length, one after the other: the number of the range, and the place within."""
    which = np.repeat(np.arange(len(lengths)), lengths)
    return which, np.arange(len(which)) - np.repeat(np.cumsum(lengths) - lengths, lengths)


def _bucket(chosen: np.ndarray, lengths: np.ndarray, prefix: np.ndarray, device: torch.device) -> Bucket:
    starts, mine = np.cumsum(lengths) - lengths, lengths[chosen]
    longest = int(mine.max())
    row, inside = spread(starts[chosen], mine)
    token: np.ndarray | None = starts[chosen][row] + inside
    if len(chosen) == len(lengths) and bool((np.diff(chosen) == 1).all()):
        token = None
    before = np.where(prefix[chosen] >= 0, lengths[prefix[chosen]], 0)
    reach = int(before.max())
    fore: tuple[np.ndarray, np.ndarray] | None = None
    if reach:
        prefix_row, step = spread(starts[prefix[chosen]], before)
        fore = (
            starts[prefix[chosen]][prefix_row] + step,
            prefix_row * (reach + longest) + reach - before[prefix_row] + step,
        )

    def move(x: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(x, dtype=np.int64)).to(device)

    return Bucket(
        len(chosen),
        longest,
        reach,
        None if token is None else move(token),
        move(row * longest + inside),
        move(row * (reach + longest) + reach + inside),
        None if fore is None else (move(fore[0]), move(fore[1])),
        move(reach - before) if reach else None,
        bool(mine.min() == longest),
    )


def buckets(lengths: Tensor, prefix: Tensor | None = None) -> list[Bucket]:
    """Group sequences of these lengths (int64 [S]).

    Args:
        prefix: int64 [S], the sequence that is the prefix of each, -1 for none; a prefix has none itself.

    Raises:
        ValueError: a prefix has a prefix.
    """
    sizes = lengths.cpu().numpy()
    before = np.full(len(sizes), -1) if prefix is None else prefix.cpu().numpy()
    if (before[before[before >= 0]] >= 0).any():
        raise ValueError("a prefix cannot have a prefix itself")
    found = []
    for led in (False, True):
        order = np.flatnonzero((before >= 0) == led)
        order = order[np.argsort(-sizes[order], kind="stable")]
        while len(order):
            count = int((sizes[order] >= FILL * sizes[order[0]]).sum())
            found.append(_bucket(np.sort(order[:count]), sizes, before, lengths.device))
            order = order[count:]
    return found

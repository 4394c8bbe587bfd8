"""Scored texts as batches for offline learning: which tokens are actions, and what each of them earned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from penchant.batches.corpus import encoded_batch
from penchant.batches.spread import cut
from penchant.errors import DataRejected
from penchant.records import Batch, Encoded
from penchant.runtime.mesh import Mesh
from penchant.runtime.random import stream

__all__ = ["Episodes", "Piece", "episode"]


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a scored text.

    Attributes:
        ids: its token ids.
        acts: whether the policy wrote it; else it is what the policy was told (a prompt, an answer), no action.
        reward: what it earned, given at its last token; or one number a token.
    """

    ids: Sequence[int]
    acts: bool = True
    reward: float | Sequence[float] = 0.0


def episode(pieces: Sequence[Piece]) -> Encoded:
    """A text as tokens: `control` where the policy did not choose, and a column `rewards`.

    A first token has nothing before it that could be a state, so a text begins with what the policy was told.

    Raises:
        ValueError: it does not begin so, a reward has no action of its piece to belong to, or there are not as many
            rewards as tokens.
    """
    if not pieces or pieces[0].acts or not len(pieces[0].ids):
        raise ValueError("a scored text begins with at least one token that the policy did not write")
    rewards = []
    for piece in pieces:
        earned = np.zeros(len(piece.ids), np.float32)
        if not isinstance(piece.reward, int | float):
            if len(piece.reward) != len(piece.ids):
                raise ValueError(f"{len(piece.reward)} rewards for {len(piece.ids)} tokens")
            earned[:] = piece.reward
        elif piece.reward and not len(earned):
            raise ValueError("a reward for an empty text")
        elif len(earned):
            earned[-1] = piece.reward
        if not piece.acts and earned.any():
            raise ValueError("a reward for what the policy did not write")
        rewards.append(earned)
    acts = [np.full(len(piece.ids), piece.acts) for piece in pieces]
    ids = np.concatenate([np.asarray(piece.ids, np.int64) for piece in pieces])
    return Encoded(ids, ~np.concatenate(acts), {"rewards": np.concatenate(rewards)})


class Episodes:
    """A source of whole texts, `batch_size` a step, drawn without replacement, epoch by epoch.

    Args:
        rows: from `episode`.
        micro_batch_size: texts of one micro-batch at most.
        mesh: the threads and processes that a step is cut for.
    """

    def __init__(
        self, rows: Sequence[Encoded], batch_size: int, micro_batch_size: int, seed: int, mesh: Mesh | None = None
    ):
        self.rows = [row for row in rows if not row.control.all()]
        if not self.rows:
            raise DataRejected("no scored text has a token that was chosen", "give rows with a completion")
        self.batch_size, self.micro, self.seed = batch_size, micro_batch_size, seed
        self.mesh = mesh or Mesh.alone()
        self._epoch, self._order = -1, np.zeros(0, np.int64)

    def _row(self, number: int) -> Encoded:
        epoch, place = divmod(number, len(self.rows))
        if epoch != self._epoch:
            self._epoch, self._order = epoch, stream(self.seed, "epoch", epoch).permutation(len(self.rows))
        return self.rows[int(self._order[place])]

    def next(self, step: int) -> tuple[list[Batch], dict[str, float]]:
        """This process's micro-batches of one step, texts of like length together; statistics: epochs so far."""
        first = step * self.batch_size
        chosen = sorted((self._row(n) for n in range(first, first + self.batch_size)), key=lambda row: len(row.ids))
        groups = self.mesh.share(cut(chosen, self.micro, self.mesh.lanes), lambda g: sum(len(row.ids) for row in g))
        return [encoded_batch(group) for group in groups], {
            "epoch": round((first + self.batch_size) / len(self.rows), 4)
        }

    def state_dict(self) -> dict[str, Any]:
        """Nothing: what a step is given depends on its number alone."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing to go on from."""

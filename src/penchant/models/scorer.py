"""Reward models: one score a text, read at its last token; a folder of transformers' own classifiers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from penchant.data.pack import next_token_batch
from penchant.models.config import CAUSAL, SCORER
from penchant.models.quantities import quantities

__all__ = ["SCORE", "scorer_config", "scores"]

SCORE = "heads.score.weight"  # what makes a model a reward model


def scorer_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """`config.json` of a reward model, from its language model's."""
    return {
        **config,
        "architectures": [str(name).replace(CAUSAL, SCORER) for name in config["architectures"]],
        "num_labels": 1,
        "id2label": {"0": "reward"},
        "label2id": {"reward": 0},
        "problem_type": "regression",
    }


@torch.no_grad()
def scores(
    model: Any, sequences: Sequence[Sequence[int]], at: Sequence[Sequence[int]] | None = None, rows: int = 16
) -> list[np.ndarray]:
    """What a reward model says after certain tokens of each text.

    Args:
        sequences: token ids, at least 1 each.
        at: positions of the tokens after which it is asked; None: the last one alone.
        rows: texts that go through the model at once.

    Returns:
        float32 [positions] for each text.
    """
    found: list[np.ndarray] = [np.zeros(0, np.float32)] * len(sequences)
    order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]))
    for first in range(0, len(order), rows):
        group = order[first : first + rows]
        ids = [np.array([*sequences[i], 0], np.int64) for i in group]  # a label that is only a place to be asked at
        keep = []
        for i, row in zip(group, ids, strict=True):
            mask = np.zeros(len(row), bool)
            mask[[len(row) - 1] if at is None else np.asarray(at[i], np.int64) + 1] = True
            keep.append(mask)
        values = quantities(model, next_token_batch(ids, keep), ("score",))["score"].cpu().numpy()
        for i, part in zip(group, np.split(values, np.cumsum([int(k.sum()) for k in keep])[:-1]), strict=True):
            found[i] = part
    return found

"""Which action each token of a completion belongs to: a token, a sentence, or a whole turn."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from penchant.environments.text import Granularity
from penchant.records import Completion
from penchant.text.offsets import stretches
from penchant.text.segment import segment_ends
from penchant.text.tokenizer import Tokenizer

__all__ = ["actions"]


def actions(completion: Completion, tokenizer: Tokenizer, granularity: Granularity, language: str = "en") -> np.ndarray:
    """int64 [T]: the number of each token's action, ascending; forced tokens bear that of the one before.

    A turn always begins a new action, and its end token belongs to its last one.
    """
    count = len(completion.ids)
    if granularity == "token":
        return np.arange(count)
    found, number = np.zeros(count, np.int64), 0
    edges = [*completion.turns, count]
    for a, b in pairwise(edges):
        mine = np.arange(a, b)[~completion.forced[a:b]]
        if not len(mine):
            continue
        inside = np.zeros(len(mine), np.int64)
        if granularity == "sentence":
            ids = [completion.ids[i] for i in mine]
            text = tokenizer.decode(ids)
            ends = segment_ends(text, "sentence", language)
            inside = np.minimum(stretches(ids, text, ends, tokenizer), max(0, len(ends) - 1))
        found[mine[0] : b] = number
        found[mine] = number + inside
        number = int(found[mine].max()) + 1
    return found

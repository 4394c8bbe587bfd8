"""Scheduled sampling: a decoder that learns also after tokens of its own, not only after the right ones.

Bengio et al. 2015, "Scheduled sampling for sequence prediction with recurrent neural networks". All places of a target
at once, as Mihaylova and Martins 2019, "Scheduled sampling for Transformers": what the model writes at each place given
the right tokens before it stands there in a second pass, in which it learns.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from penchant.batches.corpus import Pack
from penchant.models.quantities import drawn
from penchant.records import Batch, Encoded
from penchant.runtime.random import stream

__all__ = ["Forced", "ratio_at"]


def ratio_at(schedule: str, least: float, step: int, steps: int) -> float:
    """The share of a target's tokens that the decoder is given as they are, at `step` (from 0) of `steps`.

    Args:
        schedule: constant; else it falls from 1 to `least` (section 2.4): linear, exponential, inverse_sigmoid.
    """
    if schedule == "constant":
        return least
    done = step / max(1, steps - 1)
    if schedule == "linear":
        left = 1 - done
    elif schedule == "exponential":
        left = (math.exp(-5 * done) - math.exp(-5)) / (1 - math.exp(-5))
    else:
        left = (_sigmoid(6 - 12 * done) - _sigmoid(-6)) / (_sigmoid(6) - _sigmoid(-6))
    return least + (1 - least) * left


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


class Forced:
    """A pack of a sequence-to-sequence task whose targets partly give way to what the model writes.

    What is drawn depends on a window's number in the whole of training, so not on how a step is cut. Held-out text
    stays as it is.

    Args:
        pack: makes the batches.
        model: writes; its weights are whole.
        schedule, least: see `ratio_at`.
        steps: of the training.
    """

    def __init__(self, pack: Pack, model: Any, schedule: str, least: float, steps: int, seed: int):
        self.pack, self.model, self.seed = pack, model, seed
        self.schedule, self.least, self.steps = schedule, least, steps
        self.ratio = 1.0

    def begin(self, step: int) -> dict[str, float]:
        """A step begins; returns what it is to note."""
        self.ratio = ratio_at(self.schedule, self.least, step, self.steps)
        return {"teacher_forcing_ratio": round(self.ratio, 4)}

    def __call__(self, windows: Sequence[Encoded], numbers: Sequence[int], what: str = "noise") -> Batch:
        """A batch of windows, each by its number."""
        batch = self.pack(windows, numbers, what)
        if self.ratio >= 1 or what != "noise":
            return batch
        counts = np.bincount(batch.unit, minlength=len(windows))
        chances = [stream(self.seed, "teacher forcing", n).random((2, c)) for n, c in zip(numbers, counts, strict=True)]
        swapped, place = np.concatenate(chances, axis=1)
        follows = np.minimum(batch.at + 1, len(batch.inputs) - 1)  # where a label's token is the decoder's next input
        inside = (batch.at + 1 < len(batch.inputs)) & (batch.role[follows] == 1)
        chosen = np.flatnonzero(inside & (swapped >= self.ratio))
        if not len(chosen):
            return batch
        inputs = batch.inputs.copy()
        inputs[follows[chosen]] = drawn(self.model, batch, chosen, place[chosen])
        return dataclasses.replace(batch, inputs=inputs)

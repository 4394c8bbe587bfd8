"""What objectives on pairs have in common: sums by sequence, soft labels, and the metrics that everybody watches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from penchant.contracts import Term
from penchant.records import Batch

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Pairs", "count", "log_sigmoid", "watched"]


def count(batches: Sequence[Batch]) -> float:
    """Pairs of which at least one label is there."""
    return float(sum(len(np.unique(b.unit // 2)) for b in batches))


def log_sigmoid(x: Tensor) -> Tensor:
    """log(1 / (1 + exp(-x))), elementwise."""
    import torch

    return torch.nn.functional.logsigmoid(x)


class Pairs:
    """A batch's pairs: what belongs to chosen and rejected sequences, in the order of the pairs.

    A sequence without labels sums to 0.
    """

    def __init__(self, batch: Batch, device: Any):
        import torch

        self.keys = np.unique(batch.unit // 2)
        self.n = len(self.keys)
        place = np.searchsorted(self.keys, batch.unit // 2) * 2 + batch.unit % 2
        self.place = torch.from_numpy(place).to(device)
        self.first = torch.from_numpy(np.unique(batch.unit // 2, return_index=True)[1]).to(
            device
        )  # a pair's first label
        lengths = np.bincount(place, minlength=2 * self.n)
        self.lengths = torch.from_numpy(lengths).to(device).view(self.n, 2)

    def sums(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Sums over the labels [N] of chosen and of rejected sequences, each [pairs]."""
        both = values.new_zeros(2 * self.n).index_add(0, self.place, values).view(self.n, 2)
        return both[:, 0], both[:, 1]

    def means(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """The same divided by the number of labels."""
        chosen, rejected = self.sums(values)
        sizes = self.lengths.clamp_min(1).to(values.dtype)
        return chosen / sizes[:, 0], rejected / sizes[:, 1]

    def column(self, values: Tensor) -> Tensor:
        """A column that is the same for all labels of a pair [N] -> [pairs]."""
        return values[self.first]


def watched(loss: Tensor, pairs: Pairs, chosen: Tensor, rejected: Tensor, logps: tuple[Tensor, Tensor]) -> Term:
    """The loss of all pairs [pairs] as a term, with TRL's metrics.

    Args:
        chosen, rejected: what the objective takes for rewards, [pairs].
        logps: summed log-probs, [pairs] each.
    """
    n = float(pairs.n)
    margins = (chosen - rejected).detach()
    right = (margins > 0).to(margins.dtype) + 0.5 * (margins == 0).to(margins.dtype)  # a tie is half a hit
    stats: Mapping[str, tuple[float, float]] = {
        "rewards/chosen": (float(chosen.detach().sum()), n),
        "rewards/rejected": (float(rejected.detach().sum()), n),
        "rewards/margins": (float(margins.sum()), n),
        "rewards/accuracies": (float(right.sum()), n),
        "logps/chosen": (float(logps[0].detach().sum()), n),
        "logps/rejected": (float(logps[1].detach().sum()), n),
    }
    return Term(loss.sum(), n, stats)

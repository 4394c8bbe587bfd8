"""Unlikelihood: likelihood of the good segments, and a push away from every token of the bad ones.

Korbak et al. (ICML 2023), section 2, after Welleck et al. 2020: sum over good segments of log p(token) + alpha times
the sum over bad segments of log(1 - p(token)), a segment being good from a threshold on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field

from penchant.contracts import Context, Term
from penchant.objectives._scored import ByScore
from penchant.records import Batch
from penchant.text.control import resolve_threshold

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Options", "Unlikelihood", "build"]

_NEAREST = 1e-6  # log p is kept that far below 0, where log(1 - p) has no limit


class Options(BaseModel, extra="forbid"):
    """What is bad, and how hard it is pushed away."""

    signal: str = Field("style", description="whose scores say what is good")
    threshold: float | str = Field(0.0, description="score from which a segment is good; median, or qX")
    alpha: float = Field(0.01, ge=0, description="weight of the bad segments' tokens")


class Unlikelihood(ByScore):
    """Divided once by the number of all tokens, good and bad."""

    def __init__(self, options: Options, threshold: float, context: Context):
        super().__init__(options.signal, context)
        self.alpha, self.threshold = options.alpha, threshold

    def totals(self, batches: Sequence[Batch]) -> dict[str, float]:
        """All labels, for both components."""
        count = float(sum(len(b.labels) for b in batches))
        return {"likelihood": count, "unlikelihood": count}

    def loss(self, quantities: Mapping[str, Tensor], batch: Batch) -> dict[str, Term]:
        """Needs the column `score`."""
        from penchant.models.quantities import tensors

        logp = quantities["logprobs"]
        bad = tensors(batch, logp.device)["columns.score"] < self.threshold
        away = (-logp[bad].clamp(max=-_NEAREST).expm1()).log()
        n = float(len(batch.labels))
        return {
            "likelihood": Term(-logp[~bad].sum(), n, {"bad_share": (float(bad.sum()), n)}),
            "unlikelihood": Term(-self.alpha * away.sum(), n),
        }


def build(options: Options, context: Context) -> Any:
    """The objective.

    Raises:
        InputError: the data have no such scores, or no such quantile of them.
    """
    if isinstance(options.threshold, float) and not context.data:
        return Unlikelihood(options, options.threshold, context)
    return Unlikelihood(options, resolve_threshold(options.threshold, context.data, options.signal), context)

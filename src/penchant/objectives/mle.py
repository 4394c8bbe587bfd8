"""Maximum likelihood: the mean negative log-prob of the content tokens (weights by column `weight`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from penchant.contracts import Context, Term
from penchant.records import Batch

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Mle", "Options", "build"]


class Options(BaseModel, extra="forbid"):
    """No options."""


class Mle:
    """-sum_n w_n log p(label_n), divided once by sum_n w_n."""

    quantities: tuple[str, ...] = ("logprobs",)
    uniform = True  # every label weighs the same, unless the batch says otherwise

    def totals(self, batches: Sequence[Batch]) -> dict[str, float]:
        """The number (or weight) of all labels of one optimizer step."""
        return {
            "nll": float(sum(b.columns["weight"].sum() if "weight" in b.columns else len(b.labels) for b in batches))
        }

    def loss(self, quantities: Mapping[str, Tensor], batch: Batch) -> dict[str, Term]:
        """The sum of negative log-probs in nats."""
        nll = -quantities["logprobs"]
        if "weight" in batch.columns:
            from penchant.models.quantities import tensors

            nll = nll * tensors(batch, nll.device)["columns.weight"]
        return {"nll": Term(nll.sum(), float(len(batch.labels)))}


def build(options: Options, context: Context) -> Any:
    """The objective."""
    return Mle()

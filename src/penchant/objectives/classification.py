"""Classification: the cross-entropy to a distribution over labels, read at one place of each text.

-sum_c t_c log p_c with t of one label, or of several raters' votes (columns `target_0`, `target_1` ...).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from penchant.contracts import Context, Term
from penchant.records import Batch

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Classification", "Options", "build"]


class Options(BaseModel, extra="forbid"):
    """It has none."""


class Classification:
    """Divided once by the number of texts; needs a head `class` and columns `target_0` to `target_C-1`."""

    quantities: tuple[str, ...] = ("class_logprobs",)
    needs = ("target_0", "target_1")
    heads: Mapping[str, int] = {"class": 2}  # or as many as there are labels
    unit = "sequence"

    def totals(self, batches: Sequence[Batch]) -> dict[str, float]:
        """Texts."""
        return {"cross_entropy": float(sum(len(b.labels) for b in batches))}

    def loss(self, quantities: Mapping[str, Tensor], batch: Batch) -> dict[str, Term]:
        """`class_logprobs` is float32 [N, C]."""
        import torch

        from penchant.models.quantities import tensors

        logp = quantities["class_logprobs"]
        columns = tensors(batch, logp.device)
        targets = torch.stack([columns[f"columns.target_{c}"] for c in range(logp.shape[1])], 1)  # [N, C]
        n = float(len(logp))
        right = (logp.argmax(1) == targets.argmax(1)).float().sum()
        return {"cross_entropy": Term(-(targets * logp).sum(), n, {"accuracy": (float(right), n)})}


def build(options: Any, context: Context) -> Any:
    """The objective."""
    return Classification()

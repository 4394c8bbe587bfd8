"""Direct preference optimisation: the chosen answer's log-prob against the rejected one's, both against the reference.

With h = (log p_c - log q_c) - (log p_r - log q_r) and P the probability that the chosen one is preferred (a column
`probability`, else 1 - label_smoothing):
sigmoid: -P log s(b h) - (1 - P) log s(-b h) (Rafailov et al. 2023, eq. 7; soft labels: Mitchell 2023);
robust: (-(1 - e) log s(b h) + e log s(-b h)) / (1 - 2 e) (Chowdhury et al. 2024, eq. 12);
ipo: (h' - (2 P - 1) / (2 b))^2 with h' of means over tokens (Azar et al. 2023, eq. 17); hinge: max(0, 1 - b h).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, Field, model_validator

from penchant.contracts import Context, Term
from penchant.objectives._pairs import Pairs, count, log_sigmoid, watched
from penchant.records import Batch

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Dpo", "LossType", "Options", "build"]

LossType = Literal["sigmoid", "robust", "ipo", "hinge"]


class Options(BaseModel, extra="forbid"):
    """Which loss, and how near to the reference (names as in TRL)."""

    beta: float = Field(0.1, gt=0, allow_inf_nan=False, description="larger: nearer to the reference")
    loss_type: LossType = Field("sigmoid", description="sigmoid, robust, ipo or hinge")
    label_smoothing: float = Field(0.0, ge=0, lt=0.5, description="share of pairs that are the wrong way round")

    @model_validator(mode="after")
    def _sane(self) -> Options:
        if self.loss_type == "robust" and not self.label_smoothing:
            raise ValueError("loss_type robust needs a label_smoothing above 0")
        return self


class Dpo:
    """Divided once by the number of pairs; a column `probability` holds soft labels."""

    quantities: tuple[str, ...] = ("logprobs",)
    needs: tuple[str, ...] = ("reference_logprobs",)
    unit = "pair"

    def __init__(self, options: Options):
        self.options = options

    def totals(self, batches: Sequence[Batch]) -> dict[str, float]:
        """Pairs."""
        return {"dpo": count(batches)}

    def loss(self, quantities: Mapping[str, Tensor], batch: Batch) -> dict[str, Term]:
        """Sequences 2k and 2k + 1 are chosen and rejected."""
        from penchant.models.quantities import tensors

        logp, beta, smooth = quantities["logprobs"], self.options.beta, self.options.label_smoothing
        t = tensors(batch, logp.device)
        pairs = Pairs(batch, logp.device)
        gap = logp - t["columns.reference_logprobs"]
        chosen, rejected = pairs.means(gap) if self.options.loss_type == "ipo" else pairs.sums(gap)
        h = chosen - rejected
        soft = t.get("columns.probability")
        probability = 1 - smooth if soft is None else pairs.column(soft)
        if self.options.loss_type == "sigmoid":
            loss = -probability * log_sigmoid(beta * h) - (1 - probability) * log_sigmoid(-beta * h)
        elif self.options.loss_type == "robust":
            loss = (-(1 - smooth) * log_sigmoid(beta * h) + smooth * log_sigmoid(-beta * h)) / (1 - 2 * smooth)
        elif self.options.loss_type == "ipo":
            loss = (h - (2 * probability - 1) / (2 * beta)).square()
        else:
            loss = (1 - beta * h).clamp_min(0)
        return {"dpo": watched(loss, pairs, beta * chosen, beta * rejected, pairs.sums(logp))}


def build(options: Options, context: Context) -> Any:
    """The objective."""
    return Dpo(options)

"""The KL of a policy to its reference: estimators from samples of the policy, and a coefficient that adapts.

Schulman 2020, "Approximating KL divergence"; Ziegler et al. 2019, "Fine-tuning language models from human preferences",
section 2.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["AdaptiveKl", "Estimator", "divergence", "k3"]

Estimator = Literal["k1", "k2", "k3"]


def k3(logprobs: Tensor, reference: Tensor) -> Tensor:
    """exp(q - p) - 1 - (q - p), elementwise, never negative; its mean under p is KL(p || q)."""
    gap = reference - logprobs
    return gap.expm1() - gap


def divergence(logprobs: Tensor, reference: Tensor, estimator: Estimator = "k3") -> Tensor:
    """An estimate of KL(p || q) for each sampled token, [N].

    k1 = p - q has the right mean, but as a loss a gradient of mean 0 (its mean is taken under p, which moves too); k2 =
    (p - q)^2 / 2 is biased in value and has the right gradient; k3 has the right mean and nearly the right gradient.
    """
    if estimator == "k3":
        return k3(logprobs, reference)
    gap = logprobs - reference
    return gap if estimator == "k1" else gap.square() / 2


class AdaptiveKl:
    """Moves an objective's `beta` so that the measured KL comes to a target (Ziegler et al. 2019, section 2.2).

    Args:
        objective: its `beta` is moved; must begin above 0.
        target: nats a token.
        horizon: updates in which `beta` can change by its own size at most.
    """

    def __init__(self, objective: Any, target: float, horizon: float = 50.0):
        self.objective, self.target, self.horizon = objective, target, horizon

    def __call__(self, step: int, metrics: Mapping[str, float]) -> dict[str, float]:
        """After an update: the coefficient that the next one uses, as `kl_coef`."""
        measured = metrics.get("kl")
        if measured is not None:
            error = min(0.2, max(-0.2, measured / self.target - 1))
            self.objective.beta *= 1 + error / (0.2 * self.horizon)
        return {"kl_coef": self.objective.beta}

    def state_dict(self) -> dict[str, Any]:
        """The coefficient."""
        return {"beta": self.objective.beta}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with a coefficient."""
        self.objective.beta = state["beta"]

"""What algorithms that learn from rollouts have in common: options, and a KL coefficient that may adapt."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from penchant.contracts import Algorithm
from penchant.objectives import policy_gradient
from penchant.objectives.kl import AdaptiveKl

__all__ = ["Options", "algorithm"]


class Options(policy_gradient.Options, extra="forbid"):
    """Those of the policy gradient, and the KL's control."""

    kl_target: float | None = Field(
        None, gt=0, description="nats a token that beta is moved to keep; null: it is fixed"
    )
    kl_horizon: float = Field(50.0, gt=0, description="updates in which beta can change by its own size")
    mask_truncated_completions: bool = Field(
        False, description="completions that the token limit cut are not learned from"
    )


def algorithm(objective: Any, options: Any, **more: Any) -> Algorithm:
    """An algorithm with what the common options ask for.

    Args:
        more: fields of `Algorithm`.
    """
    kept = dict(more.pop("kept", {}))
    if options.kl_target is not None and options.beta:
        more["after_update"] = kept["kl"] = AdaptiveKl(objective, options.kl_target, options.kl_horizon)
    return Algorithm(objective, kept=kept, mask_truncated=options.mask_truncated_completions, **more)

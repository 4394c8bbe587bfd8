"""ILQL: Q-learning for language models from scored text alone, nothing sampled; take it for offline rewards.

Snell et al. (ICLR 2023), "Offline RL for Natural Language Generation with Implicit Language Q Learning". The policy
that comes out samples from logits + beta (min(Q1, Q2) - V), with Q1, Q2 the slowly moving copies (section 4.3).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from penchant.contracts import Algorithm, Context
from penchant.objectives import ilql

__all__ = ["SOURCE", "Options", "build"]

SOURCE = "scored"


class Options(ilql.Options):
    """Options of ILQL (names as in its paper)."""

    beta: float = Field(4.0, ge=0, description="how much action values move the policy; kept beside the model")
    polyak: float = Field(0.005, gt=0, le=1, description="how fast the targets follow the Q heads")


def build(options: Options, context: Context) -> Algorithm:
    """The algorithm; its targets are heads of the model that follow `q1` and `q2` after each update."""
    from penchant.models.following import Following
    from penchant.models.heads import draw_heads

    targets = Following(options.polyak)

    def begin(model: Any) -> None:
        heads = model.heads
        draw_heads(model, ("q1", "q2"), context.seed)  # two that began alike would stay alike, and their minimum be one
        targets.begin(
            {
                f"{slow}.{part}": (getattr(heads[slow], part), getattr(heads[fast], part))
                for slow, fast in ilql.FOLLOWS.items()
                for part in ("weight", "bias")
            }
        )

    def after_update(step: int, metrics: Mapping[str, float]) -> Mapping[str, float]:
        targets.move()
        return {}

    objective = ilql.Ilql(options)
    return Algorithm(
        objective,
        heads=objective.heads,
        begin=begin,
        after_update=after_update,
        kept={"targets": targets},
        q_weight=options.beta,
    )

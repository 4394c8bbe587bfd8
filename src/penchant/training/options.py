"""How weights are moved, as options; without torch, so that a recipe can be checked before anything is loaded."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from penchant.training.schedule import ScheduleName

__all__ = ["OptimizerOptions"]


Finite = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1)]


class OptimizerOptions(BaseModel, extra="forbid"):
    """How weights are moved. Muon (Jordan et al. 2024) takes the matrices, AdamW the embeddings and gains."""

    name: Literal["adam", "adamw", "muon", "sgd"] = "muon"
    learning_rate: Finite = Field(1.5e-2, description="of the matrices (adam, adamw and sgd: of everything)")
    adam_learning_rate: Finite = Field(1e-2, description="of what Muon leaves to AdamW")
    momentum: Share = Field(0.95, description="of Muon and SGD")
    betas: tuple[Share, Share] = Field((0.9, 0.95), description="of Adam and AdamW")
    weight_decay: Finite = Field(0.1, description="of the weights themselves (adam and sgd: added to the gradient)")
    schedule: ScheduleName = "linear"
    warmup: float = Field(0.05, ge=0, le=1, description="share of the steps over which the rate grows")
    max_grad_norm: Finite = Field(1.0, description="longer gradients are cut to this norm; 0 for never")

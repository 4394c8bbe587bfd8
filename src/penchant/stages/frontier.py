"""Models by how far they stray from aligned text and how misaligned they write: the frontier of the PHF paper.

Korbak et al. 2023, "Pretraining language models with human preferences", section 4.1 and figure 2: the misalignment
score of samples, against KL(reference, model). Their reference was a service's model; here it is one trained on aligned
text.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, field_validator

from penchant.contracts import StageContext
from penchant.evaluation.machine import Machine, open_machine
from penchant.runtime.names import DeviceName

__all__ = ["INPUTS", "Options", "RowOptions", "plan", "run"]

INPUTS = ("data", "reference", ...)  # and a role a model


class RowOptions(BaseModel, extra="forbid"):
    """One row: a model and what it is asked for."""

    model: str = Field(description="the role of its stage among the inputs")
    ask: str | None = Field(None, description="control token asked for; null for none")


class Options(BaseModel, extra="forbid"):
    """How much is sampled, and who judges."""

    models: dict[str, RowOptions] = Field(description="row -> {model: role, ask: good | null}")
    signal: str | dict[str, Any] = Field("style", description="judges samples: a name, or {name, ...options}")
    judge: str | dict[str, Any] | None = Field(
        None, description="a second signal, trained on other data, that judges the same samples beside"
    )
    samples: int = Field(256, ge=2, description="samples of each model")
    tokens: int = Field(128, ge=1, description="of each sample at most")
    temperature: float = Field(0.7, ge=0, allow_inf_nan=False, description="of the samples that are judged")
    top_p: float = Field(0.9, gt=0, le=1, description="likewise")
    kl_samples: int = Field(256, ge=2, description="samples of the reference, at temperature 1")
    bootstrap: int = Field(1000, ge=2, description="resamples of intervals")
    device: DeviceName = "auto"

    @field_validator("models")
    @classmethod
    def _some(cls, value: dict[str, RowOptions]) -> dict[str, RowOptions]:
        if not value:
            raise ValueError("name at least one row")
        return value


def plan(options: Options, context: StageContext) -> dict[str, Any]:
    """What a run would take."""
    tokens = (len(options.models) * (options.samples + options.kl_samples) + options.kl_samples) * options.tokens
    return {"tokens": tokens, "seconds": tokens / 15_000, "memory": 1 << 30, "disk": 4 << 20}


def run(
    options: Options, context: StageContext, open_model: Callable[[Path, str], Machine] = open_machine
) -> dict[str, Any]:
    """Write `frontier.json`, `frontier.html` and `samples.jsonl`.

    Inputs: `data` (a prepare folder), `reference`, and the role of each model.

    Raises:
        InputError: a role, signal or control token that is not there; models of other tokenizers than the reference's.
        Stopped: a signal asked to.
    """
    from penchant.runtime.device import set_threads
    from penchant.stages._frontier import measured

    set_threads(context.threads)
    return measured(options, context, open_model)

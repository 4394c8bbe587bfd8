"""Evaluate models side by side: what they write on held-out prompts, judged, and their perplexity on held-out text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from penchant.contracts import StageContext
from penchant.errors import InputError
from penchant.evaluation.evaluate import PAIRS
from penchant.evaluation.machine import Machine, open_machine
from penchant.runtime.names import DeviceName
from penchant.stages._checks import evaluate_check as check

__all__ = ["INPUTS", "BestOf", "Machine", "Options", "RowOptions", "check", "open_machine", "plan", "run"]

INPUTS = ("data", ...)  # and a role a model


class RowOptions(BaseModel):
    """One row: a model and what it is asked for."""

    model_config = ConfigDict(extra="forbid")
    model: str = Field(description="the role of its stage among the inputs")
    ask: str | None = Field(default=None, description="control token asked for (good, bad); null for none at all")


class BestOf(BaseModel):
    """A row that keeps the best of n samples by the task's reward."""

    model_config = ConfigDict(extra="forbid")
    of: str = Field(description="the row whose model and way of asking are sampled")
    n: int = Field(default=8, ge=2, description="samples a prompt")


class Options(BaseModel):
    """How models are evaluated."""

    model_config = ConfigDict(extra="forbid")
    task: dict[str, Any] = Field(
        default={"name": "function_body"},
        description="name of the task, its options beside it; rows: {name: answer, metrics: [exact_match, rouge]}",
    )
    models: dict[str, RowOptions] = Field(description="row -> {model: role, ask: good | bad | null}")
    best_of: dict[str, BestOf] = Field(default={}, description="row -> {of: row, n: samples}")
    real: bool = Field(default=True, description="add the row `real`: what the documents themselves go on with")
    split: Literal["train", "validation", "test"] = "test"
    prompts: int = Field(default=400, ge=1, description="prompts at most")
    per_file: int = Field(default=12, ge=1, description="prompts from one file at most")
    prompt_tokens: int = Field(default=72, ge=1, description="text tokens of a prompt at most (rows: 512)")
    max_new_tokens: int = Field(default=96, ge=1, description="chosen tokens of a completion at most")
    temperatures: list[Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(
        default=[0.7, 1.0], min_length=1, description="the first is the main one"
    )
    signal: str = Field(default="style", description="whose scores the control tokens stand for")
    threshold: float | str = Field(default=0.0, description="score from which a segment is good; median, or qX")
    perplexity_tokens: int = Field(default=40_000, ge=0, description="held-out content tokens; 0 for no perplexity")
    perplexity_window: int = Field(
        default=128,
        ge=16,
        description="tokens a model sees at once there at most, control tokens included; rows: prompt and completion",
    )
    pairs: list[tuple[str, str]] = Field(default=list(PAIRS), description="rows to compare by paired tests")
    bootstrap: int = Field(default=1000, ge=2, description="resamples of intervals and tests")
    distinct_bigrams: int = Field(default=5000, ge=2, description="bigrams that distinct-2 looks at, at most")
    primary: str | None = Field(default=None, description="the measure that the report leads with")
    device: DeviceName = "auto"


def for_rows(options: Options) -> Options:
    """Options as they hold for rows of prompts and answers, where they stand at what holds for documents.

    Raises:
        InputError: a control token is asked for.
    """
    if asked := [name for name, row in options.models.items() if row.ask is not None]:
        raise InputError(f"models.{asked[0]} asks for a control token, and the data are rows", "set ask=null")
    fields = Options.model_fields
    changed: dict[str, Any] = {}
    if options.task == fields["task"].default:
        changed["task"] = {"name": "answer", "metrics": ["exact_match", "token_f1"]}
    if options.prompt_tokens == fields["prompt_tokens"].default:
        changed["prompt_tokens"] = 512
    return options.model_copy(update=changed)


def plan(options: Options, context: StageContext) -> dict[str, Any]:
    """What a run would take: tokens at most, and rough seconds, memory and disk."""
    rows = len(options.models) * len(options.temperatures) + sum(best.n for best in options.best_of.values())
    tokens = rows * options.prompts * (options.max_new_tokens + options.prompt_tokens)
    scored = 2 * len({row.model for row in options.models.values()}) * options.perplexity_tokens
    return {
        "tokens": tokens + scored,
        "seconds": tokens / 20_000 + scored / 30_000,
        "memory": 1 << 30,
        "disk": 16 << 20,
    }


def run(
    options: Options, context: StageContext, open_model: Callable[[Path, str], Machine] = open_machine
) -> dict[str, Any]:
    """Write `evaluation.json` and `samples.jsonl`; completions are kept in `rows/`, so that a stopped stage goes on.

    Inputs: `data` (a folder of `prepare` or of `examples`), and the role of each model (a stage folder with `model/`,
    or a model folder).

    Raises:
        InputError: a role, row, signal or control token that is not there.
        DataRejected: the split has no usable prompt.
        Stopped: a signal asked to; what was written so far is kept.
    """
    from penchant.runtime.device import set_threads
    from penchant.stages._evaluate import Evaluation

    set_threads(context.threads)
    return Evaluation(options, context, open_model).run()

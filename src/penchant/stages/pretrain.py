"""Pretrain a decoder on prepared documents, from scratch or from an existing model, as an objective sees them."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, field_validator

from penchant.contracts import Feed, StageContext
from penchant.errors import InputError, PenchantError
from penchant.models.config import DecoderConfig
from penchant.models.footprint import footprint
from penchant.plugins import checked
from penchant.runtime.memory import fit
from penchant.runtime.names import DeviceName
from penchant.runtime.processor import bf16_units
from penchant.stages._checks import pretrain_check as check
from penchant.training.options import OptimizerOptions
from penchant.training.trackers import TrackerName

__all__ = ["INPUTS", "ModelOptions", "Options", "check", "plan", "run"]

INPUTS = ("data", "tokenizer")  # or, for an existing model: data and base
PROCESSES = True  # several may run it together


class ModelOptions(BaseModel, extra="forbid"):
    """The decoder's shape (names of `transformers.LlamaConfig`)."""

    hidden_size: int = Field(128, ge=1)
    intermediate_size: int = Field(384, ge=1)
    num_hidden_layers: int = Field(4, ge=1)
    num_attention_heads: int = Field(4, ge=1)
    num_key_value_heads: int = Field(4, ge=1)
    max_position_embeddings: int = Field(512, ge=1)
    model_type: Literal["llama", "mistral", "qwen2", "qwen3"] = "llama"
    head_dim: int = Field(0, ge=0, description="width of a head; 0: hidden_size / num_attention_heads")
    tie_word_embeddings: bool = True
    rope_parameters: dict[str, Any] = Field({}, description="rope_type, rope_theta ... as in transformers")
    sliding_window: int | None = Field(None, ge=1, description="tokens that a token sees (not llama); null: all")


class NoiseOptions(BaseModel, extra="forbid"):
    """What is hidden from BERT, T5 and BART."""

    share: float | None = Field(None, gt=0, lt=1, description="of the tokens; null: 0.15, and 0.3 for BART")
    span: float = Field(3.0, ge=1, allow_inf_nan=False, description="mean length of a lost span (T5, BART)")


class Options(BaseModel, extra="forbid"):
    """How a model is pretrained."""

    objective: str | dict[str, Any] = Field(
        "mle", description="name (see `penchant list objectives`), path of a .py file, or {name, ...options}"
    )
    signal: str = Field("style", description="whose scores the objective goes by, where it goes by scores")
    threshold: float | str = Field(0.0, description="score from which a segment is good, likewise; median, or qX")
    drop: float = Field(
        0.05, ge=0, le=1, description="share of control tokens left out, likewise, so the model also writes without"
    )
    seed: int | None = Field(None, ge=0, description="of weights, order and drops; null: the recipe's")
    steps: int = Field(1400, ge=1)
    batch_size: int = Field(16, ge=1, description="rows of `context` content tokens in one optimizer step")
    micro_batch_size: int | None = Field(
        None, ge=1, description="rows in one forward at most; null: as many as pay and fit in memory"
    )
    context: int = Field(128, ge=2, description="tokens the model sees in training")
    architecture: Literal["decoder", "bert", "t5", "bart", "recurrent"] = Field(
        "decoder",
        description="decoder: our own, GPT-style; bert, t5, bart: transformers' classes, by their own noise; "
        "recurrent: encoder and decoder of gated units with attention, by BART's noise",
    )
    noise: NoiseOptions = NoiseOptions()
    control_init: Literal["words", "mean"] = Field(
        "words",
        description="a base's new control tokens begin as the words of their names, or as the mean of all tokens",
    )
    teacher_forcing_ratio: float = Field(
        1.0,
        ge=0,
        le=1,
        description="share of a target's tokens that a sequence-to-sequence decoder is given as they are (scheduled "
        "sampling: the others are drawn from what it writes)",
    )
    teacher_forcing_schedule: Literal["constant", "linear", "exponential", "inverse_sigmoid"] = Field(
        "linear", description="how it falls to that from 1 in the course of training; constant: it is that throughout"
    )
    model: ModelOptions = Field(ModelOptions(), description="its shape, from scratch (`base` has its own)")
    optimizer: OptimizerOptions = OptimizerOptions()
    dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    device: DeviceName = "auto"
    checkpoint_activations: bool = Field(
        False, description="compute activations again in the backward: a third more work for less memory"
    )
    shard: Literal["auto", "none", "full"] = Field(
        "auto", description="whether processes share the weights (auto: where they are large)"
    )
    eval_steps: int = Field(140, ge=1)
    eval_tokens: int = Field(32768, ge=1, description="held-out content tokens of each evaluation")
    save_steps: int = Field(140, ge=1)
    sample_tokens: int = Field(48, ge=0, description="tokens of the samples written at each evaluation; 0 for none")
    on_not_finite: Literal["skip", "halt", "rollback"] = "skip"
    trackers: list[TrackerName] = []
    project: str = "penchant"

    @field_validator("objective")
    @classmethod
    def _known(cls, value: str | dict[str, Any]) -> str | dict[str, Any]:
        if isinstance(value, dict) and not isinstance(value.get("name"), str):
            raise ValueError("an objective with options needs a name: {name: ..., ...}")
        try:
            checked("objectives", value if isinstance(value, dict) else {"name": value})
        except InputError as error:
            raise ValueError(str(error)) from error
        return value


def inputs(options: Options, given: Container[str] = ()) -> tuple[str, ...]:
    """Roles that it needs."""
    return ("data", "base") if "base" in given else INPUTS


def plan(options: Options, context: StageContext) -> dict[str, Any]:
    """What a run would take: parameters, tokens, memory and disk in bytes, seconds expected."""
    cut = context.feeds.get("tokenizer")
    vocabulary = cut.options.vocab_size if isinstance(cut, Feed) and cut.kind == "tokenizer" else 2048
    begun = context.inputs.get("base")
    config = None if begun is None else _known_config(begun)
    config = config or DecoderConfig(vocab_size=vocabulary, **options.model.model_dump())
    parameters = config.parameters()
    tokens = options.steps * options.batch_size * options.context
    wide = options.dtype == "float32" or (options.dtype == "auto" and not bf16_units())
    rows = options.micro_batch_size or fit(None, 0, 1, options.context, context.threads).rows
    rows = min(rows, -(-options.batch_size // context.threads))
    return {
        "parameters": parameters,
        "tokens": tokens,
        "memory": footprint(config, wide, options.context, options.checkpoint_activations).total(
            context.threads, rows * options.context
        ),
        "disk": 3 * parameters * 14,
        "seconds": 6 * parameters * tokens / 75e9 / max(1, context.threads),
    }


def _known_config(folder: Path) -> DecoderConfig | None:
    """The shape of an existing model; None where it is none of our decoder's, or not there yet."""
    try:
        return DecoderConfig.from_folder(folder / "model" if (folder / "model").is_dir() else folder)
    except PenchantError:
        return None


def preflight(options: Options, context: StageContext) -> dict[str, Any]:
    """What it would learn from: the first windows, with where the loss is; nothing is trained."""
    from penchant.stages._pretrain import preflight as look

    return {**look(options, context), "memory_bytes": plan(options, context)["memory"]}


def run(options: Options, context: StageContext) -> dict[str, Any]:
    """Train in `context.folder`, going on from its newest checkpoint; publishes the best as `model/`.

    Inputs: `data` (a prepare folder), and `tokenizer` (a tokenizer folder) or `base` (a model's folder, which is
    trained on, its tokenizer with the objective's control tokens besides).
    """
    from penchant.stages._pretrain import pretrain  # torch: only the process that trains needs it

    return pretrain(options, context)

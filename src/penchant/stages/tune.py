"""Tune a policy by reinforcement learning on a task's prompts: sample, reward, credit, update."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, Field

from penchant import console
from penchant.batches.prompts import PromptSet
from penchant.batches.rollouts import Rollouts, Sampling
from penchant.batches.scoring import score
from penchant.contracts import Context, StageContext, Task
from penchant.data.store import read_documents
from penchant.errors import InputError
from penchant.files import read_json
from penchant.models.decoder import Decoder
from penchant.models.load import load_model
from penchant.plugins import build_context, plug
from penchant.runs.recorder import StageRecorder
from penchant.runtime.device import device_name, set_threads
from penchant.runtime.precision import resolve_dtype
from penchant.text.conditioning import Conditioning
from penchant.text.control import resolve_threshold
from penchant.text.tokenizer import Tokenizer
from penchant.training.loop import TrainingPlan, train
from penchant.training.optimizer import Optimizer, OptimizerOptions
from penchant.training.trackers import TrackerName, hooks

__all__ = ["Options", "plan", "run"]


class Options(BaseModel, extra="forbid"):
    """How a policy is tuned (names as in TRL where it has them)."""

    algorithm: str = "grpo"
    algorithm_options: dict[str, Any] = {}
    task: dict[str, Any] = {"name": "function_body"}
    rewards: list[dict[str, Any]] = [{"name": "task"}, {"name": "diversity"}]
    combine: Literal["product", "sum"] = "product"
    ask: str | None = Field("good", description="control token that is asked for; null for a plain model")
    signal: str = "style"
    threshold: float | str = 0.0
    steps: int = Field(24, ge=1)
    batch_size: int = Field(128, ge=2, description="completions in one optimizer step")
    num_generations: int = Field(8, ge=2, description="samples of one prompt")
    num_iterations: int = Field(1, ge=1, description="updates that one rollout is used for; from 2 on epsilon acts")
    micro_batch_size: int = Field(32, ge=1, description="completions in one forward")
    prompt_tokens: int = Field(72, ge=1, description="text tokens of a prompt")
    max_completion_length: int = Field(96, ge=1, description="chosen tokens of a completion")
    temperature: float = Field(0.8, gt=0)
    max_clipped_ratio: float = Field(0.5, description="more completions cut at the limit than that stop the run")
    max_reward_failures: float = Field(
        0.1, ge=0, le=1, description="a reward that raises for a larger share of completions stops the run"
    )
    optimizer: OptimizerOptions = OptimizerOptions(
        learning_rate=2e-3, adam_learning_rate=7e-4, weight_decay=0.0, schedule="constant"
    )
    dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    device: str = "auto"
    eval_steps: int = Field(8, ge=1)
    eval_prompts: int = Field(64, ge=1, description="validation prompts of each evaluation")
    save_steps: int = Field(4, ge=1)
    keep: Literal["last", "best"] = Field("last", description="which checkpoint is published (best: validation reward)")
    on_not_finite: Literal["skip", "halt", "rollback"] = "skip"
    trackers: list[TrackerName] = []
    project: str = "penchant"


def plan(options: Options, context: StageContext) -> dict[str, Any]:
    """What a run would take: completions' tokens, and a rough time."""
    each = options.batch_size * (options.max_completion_length + options.prompt_tokens)
    tokens = _rollouts(options) * each
    return {"tokens": tokens, "seconds": tokens / 9000, "disk": 100 << 20, "memory": 2 << 30}


def _rollouts(options: Options) -> int:
    """How many there are: each is used for `num_iterations` steps."""
    return -(-options.steps // options.num_iterations)


def _reward(entry: Mapping[str, Any], context: Context) -> tuple[Any, float]:
    """A reward and its weight; `call` in the entry is a Python function of TRL's signature."""
    weight = float(entry.get("weight", 1.0))
    if "call" not in entry:
        return plug("rewards", entry, context), weight
    call = entry["call"]

    def score(prompts: Any, completions: Any, **_: Any) -> list[float | None]:
        columns = {k: [p.columns[k] for p in prompts] for k in (prompts[0].columns if prompts else ())}
        found = call(prompts=[p.text for p in prompts], completions=[c.text for c in completions], **columns)
        return list(found)

    score.whole_batch = getattr(call, "whole_batch", False)  # type: ignore[attr-defined]
    return score, weight


def _rewards(options: Options, context: Context) -> dict[str, tuple[Any, float]]:
    """All rewards by name."""
    names = [entry.get("name") for entry in options.rewards]
    if not names or None in names or len(set(names)) < len(names):
        raise InputError(f"rewards {names} are not one or more different names", "give each reward a name= of its own")
    return {entry["name"]: _reward(entry, context) for entry in options.rewards}


class Validation:
    """The reward on validation prompts, without factors over the batch."""

    def __init__(self, source: Rollouts, prompts: PromptSet, count: int):
        self.source, self.prompts = source, prompts.take(count)

    def __call__(self, step: int) -> dict[str, float]:
        """`eval_reward`: the mean of the first reward (the task's own) on prompts nothing is trained on."""
        s = self.source
        completions = s.sampling.complete(s.model, s.tokenizer, self.prompts, s.seed + 1, 0)
        judged = [s.task.judge(p, c.text, c.stop) for p, c in zip(self.prompts, completions, strict=True)]
        name, pair = next(iter(s.rewards.items()))
        scored = score({name: pair}, self.prompts, completions, judged, "sum")
        s.tell(scored)
        none = np.isnan(scored.reward)
        return {"eval_reward": np.nan if none.all() else float(np.nanmean(scored.reward))}


def _layout(options: Options, folder: Path, tokenizer: Tokenizer, segment: str) -> Conditioning:
    """What the model was trained on, checked against what it is asked for and the data's segments."""
    layout = Conditioning.load(folder, tokenizer, segment)
    if options.ask is not None:
        layout.require(options.ask, folder)
        layout.require_segment(segment, folder)
    return layout


def _sampling(options: Options, tokenizer: Tokenizer, layout: Conditioning) -> Sampling:
    """How the policy is sampled: control tokens are forced where a new segment begins, and never chosen."""
    insert = layout.insertions(tokenizer, options.ask)
    ban = tuple(i for i in tokenizer.special_ids if i != tokenizer.eos_id)
    return Sampling(options.max_completion_length, options.temperature, (tokenizer.eos_id,), ban, insert)


def _prompt_sets(options: Options, data: Path, tokenizer: Tokenizer, task: Task, seed: int) -> dict[str, PromptSet]:
    """The prompts of train and validation."""
    threshold = 0.0
    if options.ask is not None:
        threshold = resolve_threshold(options.threshold, read_json(data / "summary.json"), options.signal)
    tail = (task, tokenizer, options.prompt_tokens, options.ask, options.signal, threshold, seed)
    return {split: PromptSet(read_documents(data / f"{split}.parquet"), *tail) for split in ("train", "validation")}


def _check(options: Options, model: Decoder, tokenizer: Tokenizer) -> None:
    """Refuse what cannot work before anything is trained."""
    if options.batch_size % options.num_generations:
        raise InputError(
            f"batch_size {options.batch_size} is not a multiple of num_generations {options.num_generations}",
            "make it one, so that every prompt has all its samples",
        )
    if tokenizer.pad_id == tokenizer.eos_id:
        raise InputError("the pad token is the end token", "give the tokenizer a pad token of its own")
    limit = model.config.max_position_embeddings
    if options.prompt_tokens + options.max_completion_length > limit:
        raise InputError(
            f"prompt_tokens {options.prompt_tokens} and max_completion_length {options.max_completion_length} "
            f"pass the model's context of {limit}",
            "lower one of them",
        )


def run(options: Options, context: StageContext) -> dict[str, Any]:
    """Tune in `context.folder`, going on from its newest checkpoint; publishes `model/`.

    Inputs: `data` (a prepare folder) and `model` (a stage folder with `model/`, or a model folder).
    """
    set_threads(context.threads)
    folder = context.inputs["model"]
    folder = folder / "model" if (folder / "model").is_dir() else folder
    tokenizer = Tokenizer.load(folder)
    device = device_name(options.device)
    model = load_model(folder, resolve_dtype(options.dtype, device), device)
    _check(options, model, tokenizer)
    segment = read_json(context.inputs["data"] / "summary.json").get("segment", "line")
    layout = _layout(options, folder, tokenizer, segment)
    plugins = build_context(context.seed, tokenizer, options.task)
    assert plugins.task is not None
    advantages, objective = plug("algorithms", {"name": options.algorithm, **options.algorithm_options}, plugins)
    reference = copy.deepcopy(model).requires_grad_(False) if getattr(objective, "beta", 0) else None
    sets = _prompt_sets(options, context.inputs["data"], tokenizer, plugins.task, context.seed)
    sampling = _sampling(options, tokenizer, layout)
    rewards = _rewards(options, plugins)
    source = Rollouts(
        *(model, reference, tokenizer, plugins.task, sets["train"], rewards, advantages, sampling),
        batch_size=options.batch_size,
        num_generations=options.num_generations,
        micro_batch_size=options.micro_batch_size,
        how=options.combine,
        seed=context.seed,
        folder=context.folder,
        max_clipped_ratio=options.max_clipped_ratio,
        max_reward_failures=options.max_reward_failures,
        num_iterations=options.num_iterations,
        note=lambda text: context.note(f"{context.name}: {text}"),
    )
    validation = Validation(source, sets["validation"], options.eval_prompts)
    if (there := len(validation.prompts)) < options.eval_prompts:
        context.note(f"{context.name}: {there} validation prompts, not {options.eval_prompts}: there are no more")
    best = "-eval_reward" if options.keep == "best" else None
    trackers = hooks(options.trackers, context.folder, options.project, context.name, context.note)

    def beside_model(to: Path) -> None:
        tokenizer.save(to)
        layout.save(to)

    recorder = StageRecorder(context, model, beside_model, sampling.ban, best, trackers)
    every = (options.eval_steps, options.save_steps, options.on_not_finite)
    the_plan = TrainingPlan(source, objective, options.steps, validation, *every)
    optimizer = Optimizer(model, options.optimizer, options.steps)
    skipped = train(model, optimizer, the_plan, recorder, console.report_progress)
    return {
        "algorithm": options.algorithm,
        "steps": options.steps,
        "published_step": recorder.publish(),
        "prompts": len(sets["train"].places),
        "prompts_too_long": sets["train"].too_long,
        "skipped_steps": skipped,
        "completions": _rollouts(options) * options.batch_size,
    }

"""The work of the stage `tune`: rollouts, rewards, updates, validation, publish."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from penchant import console
from penchant.batches.prompts import PromptSet
from penchant.batches.rollouts import Rollouts, Sampling
from penchant.batches.scoring import Scored, score
from penchant.batches.spread import scored_by_first
from penchant.contracts import Context, StageContext, Task
from penchant.data.store import read_documents
from penchant.errors import InputError
from penchant.files import read_json
from penchant.models.decoder import Decoder
from penchant.models.load import load_model, load_tokenizer
from penchant.models.lora import add_lora
from penchant.plugins import build_context, plug
from penchant.runs.recorder import StageRecorder
from penchant.runtime.mesh import Mesh
from penchant.runtime.precision import resolve_dtype
from penchant.stages.tune import rollouts
from penchant.text.conditioning import Conditioning
from penchant.text.control import resolve_threshold
from penchant.text.tokenizer import Tokenizer
from penchant.training.loop import TrainingPlan, train
from penchant.training.optimizer import Optimizer
from penchant.training.size import rows_at_once
from penchant.training.trackers import hooks

if TYPE_CHECKING:
    from penchant.stages.tune import Options

__all__ = ["Validation", "tune"]


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
        with s.mesh.whole(s.model) as model:
            completions = s.complete(model, self.prompts, s.seed + 1, 0)
        name, pair = next(iter(s.rewards.items()))

        def judge() -> tuple[Scored, list[int]]:
            judged = [s.task.judge(p, c.text, c.stop) for p, c in zip(self.prompts, completions, strict=True)]
            scored = score({name: pair}, self.prompts, completions, judged, "sum")
            s.tell(scored)
            return scored, []

        reward = scored_by_first(s.mesh, judge)[0].reward
        return {"eval_reward": np.nan if np.isnan(reward).all() else float(np.nanmean(reward))}


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


def _reference(model: Decoder, options: Options, beta: float) -> Decoder | None:
    """The policy as it is now, to stay near; under adapters that come later it shares the weights, which stay."""
    if not beta:
        return None
    memo: dict[int, Any] = {} if options.lora is None else {id(p): p for p in model.parameters()}
    return copy.deepcopy(model, memo).requires_grad_(False)


def _recorder(
    options: Options, context: StageContext, model: Decoder, tokenizer: Tokenizer, layout: Conditioning, mesh: Mesh
) -> StageRecorder:
    """Metrics, trackers and checkpoints; what samples need stands beside the model."""

    def beside_model(to: Path) -> None:
        tokenizer.save(to)
        layout.save(to)

    names = options.trackers if mesh.first else ()
    trackers = hooks(names, context.folder, options.project, context.name, context.note)
    best = "-eval_reward" if options.keep == "best" else None
    ban = _sampling(options, tokenizer, layout).ban
    return StageRecorder(context, model, beside_model, ban, best, trackers, mesh)


def tune(options: Options, context: StageContext) -> dict[str, Any]:
    """Run the stage; see `penchant.stages.tune.run`."""
    mesh = Mesh(context.threads, options.device, share_weights=options.shard)
    folder = context.inputs["model"]
    folder = folder / "model" if (folder / "model").is_dir() else folder
    tokenizer = load_tokenizer(folder)
    device = str(mesh.device)
    model = load_model(folder, resolve_dtype(options.dtype, device), device)
    _check(options, model, tokenizer)
    segment = read_json(context.inputs["data"] / "summary.json").get("segment", "line")
    layout = _layout(options, folder, tokenizer, segment)
    plugins = build_context(context.seed, tokenizer, options.task)
    assert plugins.task is not None
    advantages, objective = plug("algorithms", {"name": options.algorithm, **options.algorithm_options}, plugins)
    reference = _reference(model, options, getattr(objective, "beta", 0))
    if options.lora is not None:
        add_lora(model, **options.lora.model_dump(), seed=context.seed)
    sets = _prompt_sets(options, context.inputs["data"], tokenizer, plugins.task, context.seed)
    sampling = _sampling(options, tokenizer, layout)
    rewards = _rewards(options, plugins)
    recorder = _recorder(options, context, model, tokenizer, layout, mesh)
    asked, long = options.micro_batch_size, options.prompt_tokens + options.max_completion_length
    again = options.checkpoint_activations
    rows = recorder.decided("micro_batch_size", lambda: rows_at_once(asked, model, long, mesh, again, context.note))
    mesh.place_model(model, again)
    source = Rollouts(
        *(model, reference, tokenizer, plugins.task, sets["train"], rewards, advantages, sampling),
        batch_size=options.batch_size,
        num_generations=options.num_generations,
        micro_batch_size=rows,
        how=options.combine,
        seed=context.seed,
        folder=context.folder,
        max_clipped_ratio=options.max_clipped_ratio,
        max_reward_failures=options.max_reward_failures,
        num_iterations=options.num_iterations,
        note=lambda text: context.note(f"{context.name}: {text}"),
        mesh=mesh,
    )
    validation = Validation(source, sets["validation"], options.eval_prompts)
    if (there := len(validation.prompts)) < options.eval_prompts:
        context.note(f"{context.name}: {there} validation prompts, not {options.eval_prompts}: there are no more")
    every = (options.eval_steps, options.save_steps, options.on_not_finite)
    apart = "sampler and trainer disagree: set dtype=float32, or allow it with max_logprob_difference="
    limits = {"logprob_difference": (options.max_logprob_difference, apart)}
    the_plan = TrainingPlan(source, objective, options.steps, validation, *every, limits=limits)
    optimizer = Optimizer(model, options.optimizer, options.steps)
    skipped = train(model, optimizer, the_plan, recorder, console.report_progress, mesh)
    summary = {
        "algorithm": options.algorithm,
        "steps": options.steps,
        "published_step": recorder.publish(),
        "prompts": len(sets["train"].places),
        "prompts_too_long": sets["train"].too_long,
        "skipped_steps": skipped,
        "completions": rollouts(options) * options.batch_size,
        "micro_batch_size": rows,
        **mesh.summary(),
    }
    mesh.close()
    return summary

"""The work of the stage `tune`: a policy, what it learns from, the loop, publish."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import resource
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penchant import console
from penchant.contracts import Algorithm, StageContext
from penchant.data.examples import is_examples
from penchant.errors import InputError
from penchant.files import read_json
from penchant.models.following import Following
from penchant.models.heads import add_heads
from penchant.models.load import load_model, load_tokenizer
from penchant.models.lora import add_lora
from penchant.plugins import build_context, plug
from penchant.runs.recorder import StageRecorder
from penchant.runtime.mesh import Mesh
from penchant.runtime.precision import resolve_dtype
from penchant.stages._work import Work
from penchant.stages.tune import for_rows, source_of
from penchant.text.conditioning import Conditioning
from penchant.text.tokenizer import Tokenizer
from penchant.training.loop import TrainingPlan, train
from penchant.training.optimizer import Optimizer
from penchant.training.size import bytes_at, rows_at_once
from penchant.training.trackers import hooks

if TYPE_CHECKING:
    from penchant.stages.tune import Options

__all__ = ["preflight", "tune"]


def tune(options: Options, context: StageContext) -> dict[str, Any]:
    """Run the stage; see `penchant.stages.tune.run`."""
    if options.seed is not None:
        context = dataclasses.replace(context, seed=options.seed)
    about = read_json(context.inputs["data"] / "summary.json")
    if is_examples(about):
        options = for_rows(options)
    data = importlib.import_module(f"penchant.stages.{source_of(options.algorithm)}")
    work, recorder = _begun(options, context, data, about.get("segment", "line"))
    made, algorithm, mesh = data.make(work), work.algorithm, work.mesh
    steps = made.steps or options.steps
    following = _following(options, work)
    plan = TrainingPlan(
        made.source,
        algorithm.objective,
        steps,
        made.evaluate,
        options.eval_steps,
        options.save_steps,
        options.on_not_finite,
        limits=made.limits,
        after_update=_after(options, algorithm, following),
        kept={**algorithm.kept, **({} if following is None else {"reference": following})},
        budget=options.token_budget,
    )
    optimizer = Optimizer(work.model, options.optimizer, steps)
    skipped = train(work.model, optimizer, plan, recorder, console.report_progress, mesh)
    summary = {
        "algorithm": options.algorithm,
        "steps": recorder.last_step,
        "published_step": recorder.publish(),
        "skipped_steps": skipped,
        "micro_batch_size": work.micro_batch_size,
        **made.summary(),
        **mesh.summary(),
        "reference_tokens": 0 if work.reference is None else recorder.tokens,
        "peak_memory_mb": _peak_memory(),
    }
    mesh.close()
    return summary


def preflight(options: Options, context: StageContext) -> dict[str, Any]:
    """What the stage would learn from; see `penchant.stages.tune.preflight`.

    Returns:
        What the maker of batches shows, and `micro_batch_size`, `memory_bytes` (at the longest row) and
        `seconds_a_step` (a guess from a forward, or from the sampling).
    """
    if options.seed is not None:
        context = dataclasses.replace(context, seed=options.seed)
    about = read_json(context.inputs["data"] / "summary.json")
    if is_examples(about):
        options = for_rows(options)
    data = importlib.import_module(f"penchant.stages.{source_of(options.algorithm)}")
    work, _ = _begun(options, context, data, about.get("segment", "line"), record=False)
    rows, long = work.micro_batch_size, data.longest(options)
    memory = bytes_at(work.model, rows, long, work.mesh, options.checkpoint_activations)
    shown = data.preview(work)
    memory += shown.pop("kept_activations", 0)
    return {**shown, "micro_batch_size": rows, "longest": long, "memory_bytes": memory}


def _begun(
    options: Options, context: StageContext, data: Any, segment: str, record: bool = True
) -> tuple[Work, StageRecorder]:
    """A model ready to be trained, and where its story is written (nowhere, where it is only to be looked at)."""
    mesh = Mesh(context.threads, options.device, share_weights=options.shard)
    folder = context.inputs["model"]
    folder = folder / "model" if (folder / "model").is_dir() else folder
    tokenizer = load_tokenizer(folder)
    device = str(mesh.device)
    model = load_model(folder, resolve_dtype(options.dtype, device), device)
    if tokenizer.pad_id == tokenizer.eos_id:
        raise InputError("the pad token is the end token", "give the tokenizer a pad token of its own")
    data.check(options, model)
    layout = _layout(options, folder, tokenizer, segment)
    plugins = build_context(context.seed, tokenizer, options.task)
    algorithm = plug("algorithms", {"name": options.algorithm, **options.algorithm_options}, plugins)
    apart = bool(getattr(algorithm.objective, "beta", 0)) or "reference_logprobs" in algorithm.needs
    reference = _reference(model, options) if apart and data.ONLINE else None
    if options.lora is not None:
        add_lora(getattr(model, "inner", model), **options.lora.model_dump(), seed=context.seed)
    add_heads(model, algorithm.heads)
    layout = dataclasses.replace(layout, q_weight=algorithm.q_weight)
    recorder = _recorder(options, context, model, tokenizer, layout, mesh) if record else None
    asked, again = options.micro_batch_size, options.checkpoint_activations
    long = data.longest(options)

    def decide() -> int:
        return rows_at_once(asked, model, long, mesh, again, context.note)

    decided = (lambda name, choose: choose()) if recorder is None else recorder.decided
    rows = decided("micro_batch_size", decide)
    mesh.place_model(model, again)
    if algorithm.begin is not None:
        algorithm.begin(model)
    work = Work(options, context, mesh, model, reference, tokenizer, layout, plugins, algorithm, rows, decided)
    return work, recorder  # type: ignore[return-value]


def _peak_memory() -> int:
    """The most memory that this process had so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "linux" else 1 << 20)


def _layout(options: Options, folder: Path, tokenizer: Tokenizer, segment: str) -> Conditioning:
    """What the model was trained on, checked against what it is asked for and the data's segments."""
    layout = Conditioning.load(folder, tokenizer, segment)
    if options.ask is not None:
        layout.require(options.ask, folder)
        layout.require_segment(segment, folder)
    return layout


def _reference(model: Any, options: Options) -> Any:
    """The policy as it is now, to stay near; under adapters that come later it shares the weights, which stay."""
    memo: dict[int, Any] = {} if options.lora is None else {id(p): p for p in model.parameters()}
    return copy.deepcopy(model, memo).requires_grad_(False)


def _following(options: Options, work: Work) -> Following | None:
    """What moves the reference after the policy, where that is asked for (Gorbatovski et al. 2024, eq. 6)."""
    if not options.sync_ref_model:
        return None
    if work.reference is None:
        raise InputError("sync_ref_model, and there is no reference", "set algorithm_options.beta above 0")
    follow = Following(options.ref_model_mixup_alpha)
    slow = dict(work.reference.named_parameters())
    follow.begin({name: (slow[name], fast) for name, fast in work.model.named_parameters() if name in slow})
    return follow


def _after(options: Options, algorithm: Algorithm, following: Following | None) -> Any:
    """What happens after each update."""
    if following is None:
        return algorithm.after_update

    def after(step: int, metrics: Mapping[str, float]) -> Mapping[str, float]:
        if step % options.ref_model_sync_steps == 0:
            following.move()
        return {} if algorithm.after_update is None else algorithm.after_update(step, metrics)

    return after


def _recorder(
    options: Options, context: StageContext, model: Any, tokenizer: Tokenizer, layout: Conditioning, mesh: Mesh
) -> StageRecorder:
    """Metrics, trackers and checkpoints; what samples need stands beside the model."""

    def beside_model(to: Path) -> None:
        tokenizer.save(to)
        layout.save(to)

    names = options.trackers if mesh.first else ()
    trackers = hooks(names, context.folder, options.project, context.name, context.note)
    online = source_of(options.algorithm) == "_rollouts"
    best = None if options.keep == "last" else "-eval_reward" if online else "eval_loss"
    ban = tuple(i for i in tokenizer.special_ids if i != tokenizer.eos_id)
    return StageRecorder(context, model, beside_model, ban, best, trackers, mesh)

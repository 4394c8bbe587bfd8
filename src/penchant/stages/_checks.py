"""What is wrong with a stage's options, told before anything runs; types and bounds are checked by `Options` itself.

Each function is its stage's `check(options, inputs)`: it yields the key of a wrong value and what to do about it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penchant import registry
from penchant.contracts import Complaint, Feed
from penchant.data.entities import missing
from penchant.errors import InputError
from penchant.evaluation.evaluate import MEASURES
from penchant.models.config import DecoderConfig
from penchant.options import nearest
from penchant.rewards._pool import KEYS
from penchant.stages._foresee import (
    acts,
    context_of,
    controls_of,
    measures_of,
    objective_entry,
    objective_of,
    objective_options,
    plugin_problem,
    rows_of,
    segment_of,
    signal_entry,
    signal_problem,
    text_environment,
)

if TYPE_CHECKING:
    from penchant.stages import evaluate, prepare, pretrain, tune

__all__ = ["evaluate_check", "prepare_check", "pretrain_check", "tune_check"]

Inputs = Mapping[str, Feed | Path]


def prepare_check(options: prepare.Options, inputs: Inputs) -> Iterator[Complaint]:
    """Signals that there are, with options that they take, each under a name of its own; inputs that one names."""
    labels = []
    if options.entities is not None and (problem := missing(options.entities)):
        yield "entities", problem
    named = {spec.get("model") for spec in options.signals if isinstance(spec, dict)}
    if idle := [role for role in inputs if role not in named]:
        yield (
            "signals",
            f"none names the input {idle[0]!r}: {{name: classifier, model: {idle[0]}}}, or leave the input out",
        )
    for spec in options.signals:
        entry = {"name": spec} if isinstance(spec, str) else {key: spec[key] for key in spec if key != "as"}
        if problem := plugin_problem("signals", entry):
            yield "signals", problem
        else:
            labels.append(signal_entry(spec)[0])
    if twice := {label for label in labels if labels.count(label) > 1}:
        yield "signals", f"two write the scores {', '.join(twice)}; give one of them another name with `as`"


def pretrain_check(options: pretrain.Options, inputs: Inputs) -> Iterator[Complaint]:
    """A shape that there is, a context that fits it, an objective that a corpus can feed, and scores for it."""
    try:
        DecoderConfig(vocab_size=512, **options.model.model_dump())
    except InputError as error:
        yield "model", f"{error.problem}; {error.mend}"
    if options.context > (most := options.model.max_position_embeddings):
        yield "context", f"the model has {most} positions; lower it, or raise model.max_position_embeddings"
    if options.teacher_forcing_ratio < 1 and options.architecture in ("decoder", "bert"):
        yield "teacher_forcing_ratio", "it is for sequence-to-sequence models: architecture=t5, bart or recurrent"
    objective = objective_of(options)
    if getattr(objective, "needs", ()) and not hasattr(objective, "transform"):
        yield "objective", f"it needs {', '.join(objective.needs)}, which a corpus does not give; take another"
    entry = objective_entry(options)
    if entry.get("name") == "profile" and not entry.get("attributes"):
        yield "objective", "name whose profiles: {name: profile, attributes: {age: {bands: [30, 45]}}}"
    if "signal" in objective_options(options):
        signal, threshold = (entry.get(key, getattr(options, key)) for key in ("signal", "threshold"))
        if wrong := signal_problem(inputs.get("data"), signal, threshold):
            yield wrong


def tune_check(options: tune.Options, inputs: Inputs) -> Iterator[Complaint]:
    """Plug-ins that there are, groups that come out even, a token that the model knows, a context that holds it all."""
    if problem := plugin_problem("algorithms", {**options.algorithm_options, "name": options.algorithm}):
        yield "algorithm_options" if options.algorithm_options else "algorithm", problem
        return
    source = getattr(registry.load("algorithms", options.algorithm), "SOURCE", "rollouts")
    if acts(options.environment):
        return
    if options.sync_ref_model and (source != "rollouts" or options.lora is not None):
        online = source == "rollouts"
        why = "adapters share the reference's weights" if online else "of rows the reference's log-probs are fixed"
        yield "sync_ref_model", f"{why}; leave it out"
    if options.environment is not None:
        yield from _text_environment(options, source, inputs.get("data"))
    if source == "transitions":
        yield "algorithm", "it acts in an environment: give environment=gymnasium:NAME"
        return
    model, data = inputs.get("model"), inputs.get("data")
    if source != "rollouts":
        yield from _fits(0, "max_length", options.max_length, model)
        return
    if options.batch_size % options.num_generations:
        yield "batch_size", f"make it a multiple of num_generations ({options.num_generations}), for whole groups"
    if options.pass_at and not 1 <= min(options.pass_at) <= max(options.pass_at) <= options.eval_generations:
        yield "pass_at", f"each from 1 to eval_generations ({options.eval_generations}); raise that, or lower these"
    if problem := plugin_problem("tasks", options.task):
        yield "task", problem
    yield from _rewards(options.rewards)
    beside = options.independent
    if beside is not None and "call" not in beside and (problem := plugin_problem("rewards", beside)):
        yield "independent", problem
    if options.ask is not None and not rows_of(data):
        yield from _asked("ask", options.ask, model)
        yield from _scored(options, inputs, model)
    yield from _fits(options.prompt_tokens, "max_completion_length", options.max_completion_length, model)


def _text_environment(options: tune.Options, source: str, data: Feed | Path | None) -> Iterator[Complaint]:
    if problem := plugin_problem("environments", text_environment(options.environment)):
        yield "environment", f"{problem}; one of Gymnasium's is gymnasium:NAME"
    if source not in ("rollouts", "transitions"):
        yield "environment", f"{options.algorithm} learns from rows; take an algorithm that samples"
    if data is not None and not rows_of(data):
        yield "environment", "a text environment needs rows of prompts (data=FILE.jsonl)"


def _rewards(rewards: list[dict[str, Any]]) -> Iterator[Complaint]:
    names = [entry.get("name") for entry in rewards]
    if not names or len(set(names)) < len(names):
        yield "rewards", "give one or more, each another: [{name: task}, {name: diversity}]"
    for entry in rewards:
        weight = entry.get("weight", 1.0)
        if isinstance(weight, bool) or not isinstance(weight, int | float):
            yield "rewards", f"a weight is a number, not {weight!r}"
        plain = {k: v for k, v in entry.items() if k not in KEYS}
        if "call" not in entry and (problem := plugin_problem("rewards", plain)):
            yield "rewards", problem


def evaluate_check(options: evaluate.Options, inputs: Inputs) -> Iterator[Complaint]:
    """Rows of models that are inputs, asked for tokens that they know; a task that there is; scores; room."""
    if not options.models or {"real"} & {*options.models, *options.best_of}:
        yield "models", "name at least one row, and none `real`"
    for name, best in options.best_of.items():
        if best.of not in options.models or name in options.models:
            yield f"best_of.{name}.of", f"take a row of models ({', '.join(options.models)}), and a name that none has"
    if len(set(options.temperatures)) < len(options.temperatures):
        yield "temperatures", "give each once"
    for name, row in options.models.items():
        model = inputs.get(row.model)
        if model is None:
            roles = [role for role in inputs if role != "data"]
            yield f"models.{name}.model", f"it is no input of the stage; there are {', '.join(roles) or 'none'}"
            continue
        if row.ask is not None and rows_of(inputs.get("data")):
            yield f"models.{name}.ask", "the data are rows, without control tokens; set it to null"
        elif row.ask is not None:
            yield from _asked(f"models.{name}.ask", row.ask, model)
            yield from _scored(options, inputs, model)
        yield from _fits(options.prompt_tokens, "max_new_tokens", options.max_new_tokens, model)
    if problem := plugin_problem("tasks", options.task):
        yield "task", problem
    elif options.primary is not None:
        known = measures_of(options.task)
        if known is not None and options.primary not in {*known, *MEASURES}:
            yield "primary", nearest(options.primary, [*known, *MEASURES])


def _asked(key: str, ask: str, model: Feed | Path | None) -> Iterator[Complaint]:
    known = controls_of(model)
    if known is not None and ask not in known:
        yield (
            key,
            f"ask for {' or '.join(known)}, or null" if known else "the model is trained without any: set it to null",
        )


def _scored(options: Any, inputs: Inputs, model: Feed | Path | None) -> Iterator[Complaint]:
    """Scores for the labels of a prompt's lines, and segments as the model's were."""
    # More than two tokens are given as the model was taught them, not by these options.
    two = len(controls_of(model) or ()) <= 2
    if two and (wrong := signal_problem(inputs.get("data"), options.signal, options.threshold)):
        yield wrong
    own, segment = segment_of(inputs.get("data")), segment_of(model)
    if None not in (own, segment) and own != segment:
        yield "ask", f"the model's tokens lead each {segment}, the data are cut by {own}; set data.segment={segment}"


def _fits(prompt: int, key: str, new: int, model: Feed | Path | None) -> Iterator[Complaint]:
    most = context_of(model)
    if most is not None and prompt + new > most:
        beside = f"with prompt_tokens {prompt} it" if prompt else "it"
        yield key, f"{beside} passes the model's {most} positions; lower {'one of them' if prompt else 'it'}"

"""What `tune` trains on where an algorithm learns from rollouts: prompts, rewards, sampling, validation."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from penchant.batches.episodes import Episodes
from penchant.batches.example_prompts import ExamplePrompts
from penchant.batches.prompts import PromptSet
from penchant.batches.rollouts import Rollouts, Sampling
from penchant.batches.scoring import Scored, score
from penchant.batches.spread import scored_by_first
from penchant.contracts import Context, Task
from penchant.data.examples import is_examples, read_examples
from penchant.data.store import read_documents
from penchant.environments.text import Dialogue
from penchant.errors import InputError
from penchant.files import read_json
from penchant.metrics._pass_at import pass_at
from penchant.models.replay import pays, tape_bytes
from penchant.plugins import plug
from penchant.rewards._pool import KEYS, limited
from penchant.stages._foresee import text_environment
from penchant.stages._preflight import show_rollout
from penchant.stages._work import Made, Work
from penchant.stages.tune import Options, rollouts
from penchant.text.conditioning import Conditioning
from penchant.text.template import Template
from penchant.text.tokenizer import Tokenizer

__all__ = ["ONLINE", "Validation", "check", "longest", "make", "preview", "sampling_of"]

ONLINE = True  # a reference is asked of what is sampled
_NO_TAPE = "it needs one update a rollout, one process, a CPU, a decoder of our own, all its weights trained and kept"
PREVIEWED = 4  # prompts that are sampled before a run, to look at


def check(options: Options, model: Any) -> None:
    """Refuse what cannot work before anything is trained."""
    if options.batch_size % options.num_generations:
        raise InputError(
            f"batch_size {options.batch_size} is not a multiple of num_generations {options.num_generations}",
            "make it one, so that every prompt has all its samples",
        )
    limit = model.config.max_position_embeddings
    if longest(options) > limit:
        raise InputError(
            f"prompt_tokens {options.prompt_tokens} and max_completion_length {options.max_completion_length} "
            f"pass the model's context of {limit}",
            "lower one of them",
        )


def longest(options: Options) -> int:
    """Tokens of the longest row."""
    return options.prompt_tokens + options.max_completion_length


def preview(work: Work) -> dict[str, Any]:
    """A first rollout of a few prompts, judged and shown.

    Raises:
        InputError, DataRejected: what would stop the run.
    """
    options, source = work.options, make(work).source
    assert isinstance(source, Rollouts)
    source.groups, whole = min(PREVIEWED, source.groups), source.groups
    begin = time.perf_counter()
    source.next(0)
    seconds = (time.perf_counter() - begin) * whole / source.groups
    found = read_json(work.context.folder / "preflight.json")
    kept = kept_bytes(options, work, source)
    return {
        **found,
        "prompts_too_long": source.prompts.too_long,
        "sampling_seconds_a_step": round(seconds, 3),
        "kept_activations": kept,
    }


def make(work: Work) -> Made:
    """The source of rollouts, and the reward on validation prompts."""
    options, context, tokenizer, plugins = work.options, work.context, work.tokenizer, work.plugins
    assert plugins.task is not None
    dialogue = (
        None if options.environment is None else plug("environments", text_environment(options.environment), plugins)
    )
    template = _template(options, tokenizer, dialogue)
    sets = _prompt_sets(work, template, plugins.task)
    _tell_of_granularity(options, work)
    source = Rollouts(
        work.model,
        work.reference,
        tokenizer,
        plugins.task,
        sets["train"],
        _rewards(options, plugins),
        work.algorithm,
        sampling_of(options, tokenizer, work.layout) if dialogue is None else _episodes(options, dialogue, template),
        batch_size=options.batch_size,
        num_generations=options.num_generations,
        micro_batch_size=work.micro_batch_size,
        how=options.combine,
        seed=context.seed,
        folder=context.folder,
        max_clipped_ratio=options.max_clipped_ratio,
        max_reward_failures=options.max_reward_failures,
        num_iterations=options.num_iterations or work.algorithm.iterations,
        num_mini_batches=options.num_mini_batches or work.algorithm.minibatches,
        note=lambda text: context.note(f"{context.name}: {text}"),
        mesh=work.mesh,
        independent=_independent(options, plugins),
        granularity=options.granularity,
        show=lambda found: show_rollout(found, options.num_generations, tokenizer, context),
        replay=work.decided("reuse_activations", lambda: _replays(options, work)),
    )
    _tell_of_tape(options, work, source)
    validation = Validation(
        source, sets["validation"], options.eval_prompts, options.eval_generations, options.pass_at, options.pass_reward
    )
    if (there := validation.count) < options.eval_prompts:
        context.note(f"{context.name}: {there} validation prompts, not {options.eval_prompts}: there are no more")
    apart = "sampler and trainer disagree: set dtype=float32, or allow it with max_logprob_difference="
    limits = {"logprob_difference": (options.max_logprob_difference, apart)}

    def summary() -> dict[str, Any]:
        return {
            "prompts": len(sets["train"].places),
            "prompts_too_long": sets["train"].too_long,
            "completions": rollouts(options) * options.batch_size,
        }

    return Made(source, validation, limits, summary)


def tape_tokens(options: Options) -> int:
    """Tokens that sampling runs for one rollout, prompts once."""
    groups = options.batch_size // options.num_generations
    return options.batch_size * options.max_completion_length + groups * options.prompt_tokens


def _replays(options: Options, work: Work) -> bool:
    if options.checkpoint_activations:
        return False
    if options.reuse_activations is None:
        return pays(work.model, tape_tokens(options))
    return options.reuse_activations


def kept_bytes(options: Options, work: Work, source: Rollouts) -> int:
    """What is kept of each sampling for its update."""
    wide = next(work.model.parameters()).element_size() == 4
    return 0 if source.tape is None else tape_bytes(work.model.config, tape_tokens(options), wide)


def _tell_of_tape(options: Options, work: Work, source: Rollouts) -> None:
    name, kept = work.context.name, kept_bytes(options, work, source)
    if kept:
        size = f"{kept / 1e6:,.0f} MB at most"
        work.context.note(f"{name}: updates go on from what sampling computed: {size} (reuse_activations=false: anew)")
    elif options.reuse_activations:
        work.context.note(f"{name}: reuse_activations=true changes nothing here: {_NO_TAPE}")


def _reward(entry: Mapping[str, Any], context: Context) -> tuple[Any, float]:
    """A reward and its weight; `call` in the entry is a Python function of TRL's signature."""
    weight = float(entry.get("weight", 1.0))
    plain = {k: v for k, v in entry.items() if k not in KEYS}
    if "call" not in entry:
        return limited(entry, context, lambda: plug("rewards", plain, context)), weight
    call = entry["call"]

    def score(prompts: Any, completions: Any, **_: Any) -> list[float | None]:
        columns = {k: [p.columns[k] for p in prompts] for k in (prompts[0].columns if prompts else ())}
        found = call(prompts=[p.text for p in prompts], completions=[c.text for c in completions], **columns)
        return list(found)

    score.whole_batch = getattr(call, "whole_batch", False)  # type: ignore[attr-defined]
    return limited(entry, context, lambda: score), weight


def _independent(options: Options, context: Context) -> tuple[str, Any] | None:
    """Name and reward of what is watched and not optimised."""
    if options.independent is None:
        return None
    name = str(options.independent.get("name"))
    return name.replace(":", "."), _reward(options.independent, context)[0]


def _rewards(options: Options, context: Context) -> dict[str, tuple[Any, float]]:
    """All rewards by name."""
    names = [entry.get("name") for entry in options.rewards]
    if not names or None in names or len(set(names)) < len(names):
        raise InputError(f"rewards {names} are not one or more different names", "give each reward a name= of its own")
    return {entry["name"]: _reward(entry, context) for entry in options.rewards}


class Validation:
    """The reward on validation prompts, without factors over the batch.

    Args:
        count: prompts, `samples`: completions of each.
        ks: of pass@k; a completion passes from a reward of `least` on.
    """

    def __init__(
        self,
        source: Rollouts,
        prompts: PromptSet | ExamplePrompts,
        count: int,
        samples: int = 1,
        ks: Sequence[int] = (),
        least: float = 1.0,
    ):
        taken = prompts.take(count)
        self.source, self.count, self.samples, self.ks, self.least = source, len(taken), samples, ks, least
        self.prompts = [prompt for prompt in taken for _ in range(samples)]

    def __call__(self, step: int) -> dict[str, float]:
        """`eval_reward`, the mean of the first reward on prompts that nothing is trained on, and `eval_pass@k`."""
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
        found = {"eval_reward": np.nan if np.isnan(reward).all() else float(np.nanmean(reward))}
        passed = (np.nan_to_num(reward, nan=-np.inf) >= self.least).reshape(self.count, self.samples)
        found |= {f"eval_pass@{k}": pass_at(passed, k) for k in self.ks}
        return found | {f"eval_{key}": value for key, value in s.beside(self.prompts, completions).items()}


def sampling_of(options: Options, tokenizer: Tokenizer, layout: Conditioning) -> Sampling:
    """How the policy is sampled: control tokens are forced where a new segment begins, and never chosen."""
    insert = layout.insertions(tokenizer, options.ask)
    ban = tuple(i for i in tokenizer.special_ids if i != tokenizer.eos_id)
    return Sampling(options.max_completion_length, options.temperature, (tokenizer.eos_id,), ban, insert)


def _template(options: Options, tokenizer: Tokenizer, dialogue: Dialogue | None) -> Template:
    """How rows become tokens, with the tools that the policy is told of."""
    own = None if options.chat_template is None else Path(options.chat_template).read_text(encoding="utf-8")
    return Template(tokenizer, own, () if dialogue is None else dialogue.tools)


def _episodes(options: Options, dialogue: Dialogue, template: Template) -> Episodes:
    """How the policy is sampled turn by turn."""
    tokenizer = template.tokenizer
    ban = tuple(i for i in tokenizer.special_ids if i != tokenizer.eos_id)
    end = (tokenizer.eos_id,)
    return Episodes(dialogue, template, options.max_completion_length, options.temperature, end, ban)


def _tell_of_granularity(options: Options, work: Work) -> None:
    """Say where the switch changes nothing."""
    if options.granularity != "token" and work.algorithm.advantages is not None:
        work.context.note(
            f"{work.context.name}: granularity={options.granularity} changes nothing here: {options.algorithm} credits "
            "whole completions (take ppo, a2c, or reinforce with baseline=learned)"
        )


def _prompt_sets(work: Work, template: Template, task: Task) -> dict[str, PromptSet | ExamplePrompts]:
    """The prompts of train and validation."""
    options, data, seed = work.options, work.context.inputs["data"], work.context.seed
    summary = read_json(data / "summary.json")
    if is_examples(summary):
        return {
            split: ExamplePrompts(read_examples(data / f"{split}.parquet"), template, options.prompt_tokens, seed)
            for split in ("train", "validation")
        }
    bins = None if options.ask is None else work.layout.marks(options.signal, options.threshold, summary)
    tail = (task, template.tokenizer, options.prompt_tokens, options.ask, bins, seed)
    return {split: PromptSet(read_documents(data / f"{split}.parquet"), *tail) for split in ("train", "validation")}

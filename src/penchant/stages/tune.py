"""Tune a policy by reinforcement learning on a task's prompts: sample, reward, credit, update."""

from __future__ import annotations

from collections.abc import Container
from typing import Any, Literal

from pydantic import BaseModel, Field

from penchant import registry
from penchant.contracts import Context, StageContext
from penchant.errors import InputError
from penchant.plugins import checked
from penchant.runtime.names import DeviceName
from penchant.stages._checks import tune_check as check
from penchant.stages._foresee import acts
from penchant.training.options import OptimizerOptions
from penchant.training.trackers import TrackerName

__all__ = ["INPUTS", "Options", "check", "plan", "run"]

INPUTS = ("data", "model")
PROCESSES = True  # several may run it together


class LoraOptions(BaseModel, extra="forbid"):
    """Low-rank adapters: only they are trained, and they are merged into what is published."""

    rank: int = Field(16, ge=1)
    alpha: float = Field(32.0, gt=0, allow_inf_nan=False, description="adapters act with weight alpha / rank")
    targets: tuple[str, ...] | None = Field(
        None, min_length=1, description="layers that have one (last parts of names); null: attention and feed-forward"
    )


class EnvironmentOptions(BaseModel, extra="forbid"):
    """How an environment is acted in."""

    options: dict[str, Any] = Field({}, description="what the environment is made with, e.g. {is_slippery: false}")
    num_envs: int = Field(8, ge=1, description="copies that act in step")
    rollout_steps: int = Field(32, ge=1, description="steps in each between updates (a2c, ppo, reinforce)")
    batch_size: int = Field(64, ge=1, description="remembered transitions of one update (dqn)")
    hidden: tuple[int, ...] = Field((64, 64), description="widths of the policy's hidden layers")
    eval_episodes: int = Field(20, ge=1, description="whole episodes of each evaluation")


class Options(BaseModel, extra="forbid"):
    """How a policy is tuned (names as in TRL where it has them)."""

    algorithm: str = "grpo"
    algorithm_options: dict[str, Any] = {}
    environment: str | dict[str, Any] | None = Field(
        None,
        description="act in gymnasium:NAME instead, without model and data (q_learning, dqn, a2c, ppo, reinforce); or "
        "{name: multi_turn, tools: [FILE.py:FUNCTION], turns: 4}: text in turns, with tools",
    )
    granularity: Literal["token", "sentence", "document"] = Field(
        "token", description="what one action is where credit goes by value (a2c, ppo, reinforce); document: a turn"
    )
    environment_options: EnvironmentOptions = EnvironmentOptions()
    task: dict[str, Any] = {"name": "function_body"}
    rewards: list[dict[str, Any]] = Field(
        [{"name": "task"}, {"name": "diversity"}],
        description="{name, weight, ...options}; workers: N runs one in N processes, timeout: SECONDS limits it (600; "
        "null for none)",
    )
    independent: dict[str, Any] | None = Field(
        None, description="a reward that is watched beside and never optimised, {name: ..., ...options}"
    )
    combine: Literal["product", "sum"] = "product"
    ask: str | None = Field("good", description="control token that is asked for; null for a plain model")
    signal: str = "style"
    threshold: float | str = 0.0
    steps: int = Field(24, ge=1)
    epochs: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="passes over rows, instead of steps (not for rollouts)"
    )
    max_length: int = Field(
        512, ge=2, description="tokens of a row, prompt and answer; longer ones are left out, counted"
    )
    chat_template: str | None = Field(None, description="file of a Jinja template; null: the model's own")
    token_budget: int | None = Field(
        None, ge=1, description="policy tokens, sampled and trained on, after which training ends before its steps do"
    )
    seed: int | None = Field(None, ge=0, description="null: the run's")
    batch_size: int = Field(128, ge=1, description="completions (rows, pairs) in one optimizer step")
    num_generations: int = Field(8, ge=1, description="samples of one prompt")
    num_iterations: int | None = Field(
        None, ge=1, description="passes over one rollout (from 2 updates on epsilon acts); null: the algorithm's own"
    )
    num_mini_batches: int | None = Field(
        None, ge=1, description="updates of one pass over a rollout; null: the algorithm's own"
    )
    micro_batch_size: int | None = Field(
        None, ge=1, description="completions in one forward at most; null: as many as pay and fit in memory"
    )
    prompt_tokens: int = Field(72, ge=1, description="text tokens of a prompt")
    max_completion_length: int = Field(96, ge=1, description="chosen tokens of a completion")
    temperature: float = Field(0.8, gt=0, allow_inf_nan=False)
    max_clipped_ratio: float = Field(
        0.5, ge=0, le=1, description="more completions cut at the limit than that stop the run"
    )
    max_reward_failures: float = Field(
        0.1, ge=0, le=1, description="a reward that raises for a larger share of completions stops the run"
    )
    max_logprob_difference: float = Field(
        0.1, ge=0, description="sampler and trainer further apart than that in the mean (nats a token) stop the run"
    )
    optimizer: OptimizerOptions = OptimizerOptions(
        learning_rate=2e-3, adam_learning_rate=7e-4, weight_decay=0.0, schedule="constant"
    )
    sync_ref_model: bool = Field(
        False, description="the reference of the KL follows the policy (TR-DPO; rollouts without lora only)"
    )
    ref_model_mixup_alpha: float = Field(0.6, gt=0, le=1, description="how far it moves to the policy each time")
    ref_model_sync_steps: int = Field(64, ge=1, description="updates between two such moves")
    lora: LoraOptions | None = Field(None, description="train adapters (rank, alpha, targets) instead of the weights")
    dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    device: DeviceName = "auto"
    checkpoint_activations: bool = Field(
        False, description="compute activations again in the backward: a third more work for less memory"
    )
    reuse_activations: bool | None = Field(
        None,
        description="an update goes on from what sampling computed, without a forward (one update a rollout, on a CPU, "
        "our own decoders without lora); null: where that pays, and takes an eighth of the memory at most",
    )
    shard: Literal["auto", "none", "full"] = Field(
        "auto", description="whether processes share the weights (auto: where they are large)"
    )
    eval_steps: int = Field(8, ge=1)
    eval_prompts: int = Field(64, ge=1, description="validation prompts of each evaluation")
    eval_generations: int = Field(1, ge=1, description="completions of each validation prompt")
    pass_at: tuple[int, ...] = Field((), description="k of pass@k on validation prompts, up to eval_generations")
    pass_reward: float = Field(
        1.0, allow_inf_nan=False, description="a completion passes from this value of the first reward on"
    )
    save_steps: int = Field(4, ge=1)
    keep: Literal["last", "best"] = Field("last", description="which checkpoint is published (best: validation reward)")
    on_not_finite: Literal["skip", "halt", "rollback"] = "skip"
    trackers: list[TrackerName] = []
    project: str = "penchant"


def plan(options: Options, context: StageContext) -> dict[str, Any]:
    """What a run would take: completions' tokens, and a rough time."""
    each = options.batch_size * (options.max_completion_length + options.prompt_tokens)
    tokens = rollouts(options) * each
    if options.token_budget is not None:  # prompts come on top, once for sampling and once for each update
        share = 1 + options.prompt_tokens / options.max_completion_length
        tokens = min(tokens, int(options.token_budget * share))
    return {"tokens": tokens, "seconds": tokens / 9000, "disk": 100 << 20, "memory": 2 << 30}


def rollouts(options: Options) -> int:
    """How many there are: each is used for some steps."""
    module, settings = checked("algorithms", {**options.algorithm_options, "name": options.algorithm})
    try:
        algorithm = module.build(settings, Context())
        passes, parts = algorithm.iterations, algorithm.minibatches
    except Exception:  # one of the user's own may need more than there is yet
        passes, parts = 1, 1
    return -(-options.steps // ((options.num_iterations or passes) * (options.num_mini_batches or parts)))


# Where batches come from (an algorithm's `SOURCE`): the module of this folder that makes them.
SOURCES = {"rollouts": "_rollouts", "transitions": "_environment"} | dict.fromkeys(
    ("examples", "pairs", "scored", "scored_pairs", "steps", "unpaired"), "_rows"
)


def source_of(algorithm: str) -> str:
    """The module that makes the batches of an algorithm."""
    return SOURCES[getattr(registry.load("algorithms", algorithm), "SOURCE", "rollouts")]


def for_rows(options: Options) -> Options:
    """Options as they hold for rows of prompts and answers: no control token is asked for, and rewards judge.

    Raises:
        InputError: rollouts, and nothing judges them.
    """
    if source_of(options.algorithm) == "_rollouts" and options.rewards == Options.model_fields["rewards"].default:
        raise InputError(
            "rows of prompts have no task that judges answers", "give rewards=, e.g. rewards='[{name: exact_match}]'"
        )
    task = {"name": "answer"} if options.task == Options.model_fields["task"].default else options.task
    return options.model_copy(update={"ask": None, "task": task})


def run(options: Options, context: StageContext) -> dict[str, Any]:
    """Tune in `context.folder`, going on from its newest checkpoint; publishes `model/`.

    Inputs: `data` (a folder of `prepare` or of `examples`) and `model` (a stage folder, or a model's).
    """
    if acts(options.environment):
        from penchant.stages._environment import act

        return act(options, context)
    from penchant.stages._tune import tune  # torch: only the process that trains needs it

    return tune(options, context)


def preflight(options: Options, context: StageContext) -> dict[str, Any]:
    """What it would learn from: rows, or a first small rollout; nothing is trained."""
    if acts(options.environment):
        return {}
    from penchant.stages._tune import preflight as look

    return look(options, context)


def inputs(options: Options, given: Container[str] = ()) -> tuple[str, ...]:
    """Roles that it needs: none where it acts in one of Gymnasium's environments."""
    return () if acts(options.environment) else INPUTS

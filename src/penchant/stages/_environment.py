"""The work of `tune` in an environment of Gymnasium's: no model, no data; a policy of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from penchant import console
from penchant.algorithms._critic import Critic
from penchant.batches.replay import Memory, Replay
from penchant.batches.steps import Steps
from penchant.contracts import Algorithm, Context, StageContext
from penchant.environments.gym import Gym, spaces
from penchant.errors import InputError
from penchant.models.heads import add_heads
from penchant.models.mlp import Mlp, PolicyConfig, greedy
from penchant.plugins import checked
from penchant.runs.recorder import StageRecorder
from penchant.runtime.mesh import Mesh
from penchant.training.loop import TrainingPlan, train
from penchant.training.optimizer import Optimizer, OptimizerOptions
from penchant.training.trackers import hooks

if TYPE_CHECKING:
    from penchant.stages.tune import Options

__all__ = ["act"]

# What differs from text, unless the options say otherwise: no reference, values of any size, a future worth less.
_CRITIC: dict[str, Any] = {"gamma": 0.98, "lam": 0.8, "beta": 0.0, "cliprange_value": None, "vf_coef": 0.5,
                           "importance_sampling_cap": None}  # fmt: skip
_PASSES = {"ppo": 20}
_RATES = {"q_learning": 0.1, "dqn": 2.3e-3}


def act(options: Options, context: StageContext) -> dict[str, Any]:
    """Run the stage in `options.environment`.

    Raises:
        InputError: the algorithm does not act in environments, or several processes were asked for.
    """
    assert isinstance(options.environment, str)
    o, mesh = options.environment_options, Mesh(1, "cpu")
    if mesh.place.ranks > 1:
        raise InputError("an environment is acted in by one process", "leave processes= out")
    algorithm, settings = _algorithm(options)
    size, numbered, actions = spaces(options.environment, o.options)
    hidden = () if options.algorithm == "q_learning" else tuple(o.hidden)
    config = PolicyConfig(size, numbered, actions, hidden, getattr(settings, "dueling", False))
    model = Mlp(config).initialise(context.seed)
    add_heads(model, algorithm.heads)
    if algorithm.begin is not None:
        algorithm.begin(model)
    gym = Gym(options.environment, o.num_envs, context.seed, o.options)
    source = _source(options, context, model, gym, algorithm, settings, size, numbered)
    trackers = hooks(options.trackers, context.folder, options.project, context.name, context.note)
    best = "-eval_return" if options.keep == "best" else None
    recorder = StageRecorder(context, model, lambda folder: None, (), best, trackers, mesh)
    plan = TrainingPlan(
        source,
        algorithm.objective,
        options.steps,
        _Greedy(options, model, context.seed),
        options.eval_steps,
        options.save_steps,
        options.on_not_finite,
        after_update=algorithm.after_update,
        kept=algorithm.kept,
    )
    optimizer = Optimizer(model, _optimizer(options), options.steps)
    skipped = train(model, optimizer, plan, recorder, console.report_progress, mesh)
    return {
        "algorithm": options.algorithm,
        "environment": options.environment,
        "steps": recorder.last_step,
        "published_step": recorder.publish(),
        "skipped_steps": skipped,
        "environment_steps": getattr(source, "acted", getattr(source, "sampled_tokens", 0)),
    }


def _algorithm(options: Options) -> tuple[Algorithm, Any]:
    """The algorithm, with defaults for environments."""
    module, _ = checked("algorithms", {**options.algorithm_options, "name": options.algorithm})
    known = module.Options.model_fields
    extra: Mapping[str, Any] = {} if getattr(module, "SOURCE", "") == "transitions" else _CRITIC
    given = {**{k: v for k, v in extra.items() if k in known}, **options.algorithm_options}
    if options.algorithm == "reinforce":
        given = {"baseline": "learned", **given}
    _, settings = checked("algorithms", {**given, "name": options.algorithm})
    algorithm = module.build(settings, Context())
    if not isinstance(algorithm.credit, Critic) and getattr(module, "SOURCE", "") != "transitions":
        raise InputError(
            f"{options.algorithm} does not act in environments", "take q_learning, dqn, a2c, ppo or reinforce"
        )
    return algorithm, settings


def _source(
    options: Options,
    context: StageContext,
    model: Mlp,
    gym: Gym,
    algorithm: Algorithm,
    settings: Any,
    size: int,
    numbered: bool,
) -> Replay | Steps:
    if algorithm.credit is not None:
        passes = options.num_iterations or _PASSES.get(options.algorithm, 1)
        parts = options.num_mini_batches or algorithm.minibatches
        horizon = options.environment_options.rollout_steps
        return Steps(model, gym, algorithm.credit, horizon, passes, parts, context.seed)
    target: Any = algorithm.kept.get("target")
    memory = Memory(settings.memory, () if numbered else (size,)) if settings.memory else None
    return Replay(
        model,
        lambda: model if target is None else target.model,
        gym,
        memory,
        settings,
        batch_size=options.environment_options.batch_size,
        steps=options.steps,
        seed=context.seed,
    )


def _optimizer(options: Options) -> OptimizerOptions:
    """The stage's, where it was set; else what suits the algorithm."""
    if options.optimizer != type(options).model_fields["optimizer"].default:
        return options.optimizer
    table = options.algorithm == "q_learning"
    return OptimizerOptions(
        name="sgd" if table else "adamw",
        learning_rate=_RATES.get(options.algorithm, 1e-3),
        momentum=0.0,
        betas=(0.9, 0.999),
        weight_decay=0.0,
        schedule="linear",
        warmup=0.0,
        max_grad_norm=0.0 if table else 0.5 if options.algorithm != "dqn" else 10.0,
    )


class _Greedy:
    """Mean return of whole episodes in which the best action is always taken."""

    def __init__(self, options: Options, model: Mlp, seed: int):
        self.options, self.model, self.seed = options, model, seed

    def __call__(self, step: int) -> dict[str, float]:
        """`eval_return` over episodes of seeds that training never sees."""
        assert isinstance(self.options.environment, str)
        count = self.options.environment_options.eval_episodes
        gym = Gym(self.options.environment, count, self.seed + 7_919, self.options.environment_options.options)
        returns: dict[int, float] = {}
        while len(returns) < count:
            before = list(gym.sums)
            came = gym.step(greedy(self.model, gym.observations()))
            for i in np.flatnonzero(came.terminated | came.truncated):
                returns.setdefault(int(i), before[int(i)] + float(came.rewards[i]))
        return {"eval_return": float(np.mean(list(returns.values())))}

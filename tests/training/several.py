"""A toy training as several processes run it: `python several.py WORK FOLDER STEPS SHARD STOP_AT THREADS OPTIMIZER`.

WORK is `mle`, `lora` (the same through adapters), `grpo`, `ppo`, `dpo`, or `one`: a single row a step, so that the
others have none.
"""

from __future__ import annotations

import copy
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from penchant.advantages.group import group_advantages
from penchant.algorithms import ppo
from penchant.batches.corpus import Corpus
from penchant.batches.prompts import PromptSet
from penchant.batches.rollouts import Rollouts, Sampling
from penchant.batches.rows import Item, Rows, with_values
from penchant.contracts import Algorithm, Context, StageContext
from penchant.data.shards import Windows
from penchant.errors import Stopped
from penchant.models.config import DecoderConfig
from penchant.models.decoder import Decoder
from penchant.models.heads import add_heads
from penchant.models.lora import add_lora
from penchant.objectives import dpo, mle, policy_gradient
from penchant.records import Encoded
from penchant.runs.recorder import StageRecorder
from penchant.runtime.launch import Place
from penchant.runtime.mesh import Mesh
from penchant.text.control import Bins
from penchant.text.tokenizer import Tokenizer
from penchant.training.loop import TrainingPlan, train
from penchant.training.optimizer import Optimizer, OptimizerOptions


def corpus(mesh: Mesh, content: int = 160) -> tuple[Any, Any]:
    """Random documents, and their likelihood; `content` tokens a step."""
    rng = np.random.default_rng(0)
    documents = [Encoded(rng.integers(0, 50, n) // 5, rng.random(n) < 0.1) for n in (140, 390, 233)]
    source = Corpus(Windows(documents, 16), content, 3, seed=5, mesh=mesh)
    return source, mle.build(mle.Options(), Context())


def rollouts(mesh: Mesh, model: Decoder, folder: Path) -> tuple[Any, Any]:
    """The toy task of the rollouts' own tests, each rollout used twice."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "batches"))
    import test_rollouts as toy

    tokenizer = Tokenizer.train([toy.TEXT], 280)
    prompts = PromptSet([toy.document()], toy.Lines(), tokenizer, 20, "good", Bins.two("toy", 0.5), seed=3)
    ban = tuple(i for i in tokenizer.special_ids if i != tokenizer.eos_id)
    sampling = Sampling(12, 0.8, (tokenizer.eos_id,), ban, {tokenizer.newline_id: tokenizer.control_ids["good"]})
    rewards = {"e": (lambda p, c, **k: [x.text.count("e") + 0.01 * len(x.text) for x in c], 1.0)}
    algorithm = Algorithm(None, group_advantages)
    parts = (model, copy.deepcopy(model), tokenizer, toy.Lines(), prompts, rewards, algorithm, sampling)
    settings = {"batch_size": 12, "num_generations": 4, "micro_batch_size": 5, "how": "sum", "seed": 1}
    settings |= {"folder": folder, "max_clipped_ratio": 1.0, "num_iterations": 2, "mesh": mesh}
    objective = policy_gradient.build(policy_gradient.Options(beta=0.1), Context())
    return Rollouts(*parts, **settings), objective


def with_critic(mesh: Mesh, model: Decoder, folder: Path) -> tuple[Any, Any]:
    """The same task under PPO, whose value head was put on the model."""
    source, _ = rollouts(mesh, model, folder)
    algorithm = ppo.build(ppo.Options(beta=0.1, num_ppo_epochs=2), Context())
    source.algorithm = algorithm
    return source, algorithm.objective


def pairs(mesh: Mesh, model: Decoder) -> tuple[Any, Any]:
    """Random pairs whose reference is the model as it was."""
    rng = np.random.default_rng(1)
    items = [
        Item(tuple(rng.integers(1, 50, rng.integers(2, 9)).tolist()),
             tuple(tuple(rng.integers(1, 50, rng.integers(1, 12)).tolist()) for _ in range(2)))
        for _ in range(30)
    ]  # fmt: skip
    items = with_values(mesh, model, items, "reference_logprobs", 4)
    return Rows(model, items, 8, 3, 5, mesh), dpo.build(dpo.Options(), Context())


def made(work: str, mesh: Mesh, model: Decoder, folder: Path) -> tuple[Any, Any]:
    """A source and an objective."""
    if work == "grpo":
        return rollouts(mesh, model, folder)
    if work == "ppo":
        return with_critic(mesh, model, folder)
    return pairs(mesh, model) if work == "dpo" else corpus(mesh, 10 if work == "one" else 160)


def run(
    work: str, folder: Path, steps: int, shard: str, stop_at: int, threads: int, optimizer: str, at: Place | None = None
) -> list[str]:
    """Train, or go on; stops with the state saved after step `stop_at`. Returns the notes."""
    mesh = Mesh(threads, "cpu", at, share_weights=shard)
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "initializer_range": 0.05}
    model = Decoder(DecoderConfig(vocab_size=280 if work in ("grpo", "ppo") else 50, **shape)).initialise(0)
    if work == "ppo":
        add_heads(model, {"value": 1})
    if work == "lora":
        add_lora(model, rank=4, alpha=8.0, seed=0)
    source, objective = made(work, mesh, model, folder)
    seen = [0]

    def stop() -> int:
        seen[0] += 1
        return 15 if stop_at and mesh.place.rank == mesh.place.ranks - 1 and seen[0] == stop_at else 0

    notes: list[str] = []
    context = StageContext("toy", folder, {}, 0, threads, stop, notes.append)
    recorder = StageRecorder(context, model, lambda _: None, best="eval_loss", mesh=mesh)
    mesh.place_model(model)
    evaluate = lambda step: {"eval_loss": 1.0 / step}  # noqa: E731
    plan = TrainingPlan(source, objective, steps, evaluate, 10, 5, "halt")
    moves = Optimizer(model, OptimizerOptions(name=optimizer, learning_rate=0.02), steps)
    try:
        train(model, moves, plan, recorder, mesh=mesh)
        recorder.publish()
    except Stopped:
        pass
    mesh.close()
    return notes


if __name__ == "__main__":
    words = sys.argv[1:]
    told = json.dumps(run(words[0], Path(words[1]), int(words[2]), words[3], int(words[4]), int(words[5]), words[6]))
    print(told, flush=True)
    os._exit(0)  # as the process of a stage ends

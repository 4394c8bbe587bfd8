"""Reinforcement learning as a source of batches: sample, reward, credit, in that order, then hand over batches."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from penchant.batches.prompts import PromptSet
from penchant.contracts import Judgement, Reward, Task
from penchant.data.pack import next_token_batch
from penchant.errors import DataRejected, InputError
from penchant.files import append_json_lines, writing
from penchant.models.decoder import Decoder
from penchant.models.quantities import quantities
from penchant.records import Batch, Completion, Prompt
from penchant.sampling.engine import generate
from penchant.text.tokenizer import Tokenizer

__all__ = ["Rollouts", "Sampling", "combine", "score"]


@dataclass(frozen=True)
class Sampling:
    """How a policy is sampled: temperature and bans belong to the policy, `insert` forces control tokens."""

    max_new_tokens: int
    temperature: float
    end: tuple[int, ...]
    ban: tuple[int, ...]
    insert: Mapping[int, int] = field(default_factory=dict)

    def complete(
        self, model: Decoder, tokenizer: Tokenizer, prompts: Sequence[Prompt], seed: int, first: int
    ) -> list[Completion]:
        """One completion a prompt."""
        found = generate(
            model,
            [p.ids for p in prompts],
            max_new_tokens=self.max_new_tokens,
            end=self.end,
            temperature=self.temperature,
            ban=self.ban,
            insert=self.insert,
            seed=seed,
            first=first,
        )
        return [Completion(s.ids, s.logprobs, s.forced, tokenizer.decode(list(s.ids)), s.stop) for s in found]


def combine(parts: np.ndarray, weights: np.ndarray, how: Literal["product", "sum"]) -> np.ndarray:
    """One reward a completion from its parts [rewards, completions]; NaN where any part gave no verdict."""
    if how == "product":
        return np.prod(parts ** weights[:, None], axis=0)
    return (parts * weights[:, None]).sum(0)


def score(
    rewards: Mapping[str, tuple[Reward, float]],
    prompts: Sequence[Prompt],
    completions: Sequence[Completion],
    judgements: Sequence[Judgement],
    how: Literal["product", "sum"],
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The combined reward [completions] and each part by name.

    Raises:
        InputError: a reward gave another number of values than completions.
    """
    parts: dict[str, np.ndarray] = {}
    for name, (reward, _) in rewards.items():
        values = reward(prompts, completions, judgements=judgements)
        if len(values) != len(completions):
            raise InputError(
                f"reward {name} gave {len(values)} values for {len(completions)} completions", "give one each"
            )
        parts[name] = np.array([np.nan if v is None else float(v) for v in values])
        if how == "product" and (parts[name] < 0).any():
            raise InputError(
                f"reward {name} gave {np.nanmin(parts[name]):.3g}, and a product of negative rewards means nothing",
                "set combine=sum, or scale it to [0, 1]",
            )
    weights = np.array([weight for _, weight in rewards.values()])
    return combine(np.stack(list(parts.values())), weights, how), parts


class Rollouts:
    """A source whose batches are sampled from the policy that is being trained.

    Args:
        advantages: rewards [prompts, samples] -> advantages of the same shape.
        reference: the frozen model that the KL is measured to, or None.
        rewards: name -> (reward, weight).
        max_clipped_ratio: refuse to go on when more completions than that are cut at the limit.
        dead_steps: refuse to go on after so many steps in which every reward was the same.
    """

    def __init__(
        self,
        model: Decoder,
        reference: Decoder | None,
        tokenizer: Tokenizer,
        task: Task,
        prompts: PromptSet,
        rewards: Mapping[str, tuple[Reward, float]],
        advantages: Callable[[np.ndarray], np.ndarray],
        sampling: Sampling,
        *,
        batch_size: int,
        num_generations: int,
        micro_batch_size: int,
        how: Literal["product", "sum"],
        seed: int,
        folder: Path,
        max_clipped_ratio: float = 0.5,
        dead_steps: int = 20,
    ):
        self.model, self.reference, self.tokenizer, self.task = model, reference, tokenizer, task
        self.prompts, self.rewards, self.advantages, self.sampling = prompts, rewards, advantages, sampling
        self.groups, self.samples, self.micro = batch_size // num_generations, num_generations, micro_batch_size
        self.how, self.seed, self.folder = how, seed, folder
        self.max_clipped, self.dead_limit = max_clipped_ratio, dead_steps
        self.at = (0, 0)
        self.dead = 0

    def next(self, step: int) -> tuple[list[Batch], dict[str, float]]:
        """The micro-batches of one step, and what the rollouts were like."""
        begin = time.perf_counter()
        stream = self.prompts.start(*self.at)
        prompts = [p for p in (next(stream) for _ in range(self.groups)) for _ in range(self.samples)]
        self.at = (self.prompts.epoch, self.prompts.place)
        self.model.eval()
        completions = self.sampling.complete(self.model, self.tokenizer, prompts, self.seed, step * len(prompts))
        sampled = time.perf_counter()
        judgements = [self.task.judge(p, c.text, c.stop) for p, c in zip(prompts, completions, strict=True)]
        reward, parts = score(self.rewards, prompts, completions, judgements, self.how)
        rewarded = time.perf_counter()
        grouped = reward.reshape(self.groups, self.samples)
        advantages = self.advantages(grouped).reshape(-1)
        advantages = np.where(np.isnan(reward), np.nan, advantages)  # no verdict: left out, of the KL too
        stats = self._statistics(grouped, parts, completions, judgements)
        self._keep(step + 1, prompts, completions, reward, parts, advantages)
        self._refuse(step, stats)
        batches = self._pack(prompts, completions, judgements, advantages)
        stats |= {"sampling_seconds": sampled - begin, "reward_seconds": rewarded - sampled}
        return batches, stats

    def _pack(
        self,
        prompts: Sequence[Prompt],
        completions: Sequence[Completion],
        judgements: Sequence[Judgement],
        advantages: np.ndarray,
    ) -> list[Batch]:
        """Batches whose labels are the chosen tokens that earn credit; reference log-probs filled in."""
        chosen = [
            i for i, c in enumerate(completions) if self._credit(c, judgements[i]).any() and not np.isnan(advantages[i])
        ]
        chosen.sort(key=lambda i: (len(prompts[i].ids) + len(completions[i].ids), i))
        batches = []
        for a in range(0, len(chosen), self.micro):
            group = chosen[a : a + self.micro]
            ids, keep, gain, old = [], [], [], []
            for i in group:
                head = len(prompts[i].ids)
                ids.append(np.array([*prompts[i].ids, *completions[i].ids], np.int64))
                keep.append(np.concatenate([np.zeros(head, bool), self._credit(completions[i], judgements[i])]))
                gain.append(np.full(len(ids[-1]), advantages[i], np.float32))
                old.append(np.concatenate([np.zeros(head, np.float32), completions[i].logprobs]))
            columns = {"advantages": gain, "rollout_logprobs": old}
            batch = next_token_batch(ids, keep, columns, self.sampling.temperature, self.sampling.ban)
            batches.append(self._with_reference(batch))
        return batches

    def _credit(self, completion: Completion, judgement: Judgement) -> np.ndarray:
        """bool [tokens]: chosen, and begun before the judged part's end; with the token that ended it, a choice too."""
        text, ids = completion.text, completion.ids
        if "\ufffd" in text:  # bytes that are no UTF-8: one character for an unknown number of bytes
            starts = np.array([len(self.tokenizer.decode(ids[:n])) for n in range(len(ids))])
            limit = judgement.credit
        else:
            sizes = self.tokenizer.byte_lengths(ids)
            starts, limit = np.cumsum(sizes) - sizes, len(text[: judgement.credit].encode())
        chosen = ~completion.forced
        if judgement.credit >= len(text):
            return chosen
        earns = chosen & (starts < limit)
        ending = np.flatnonzero(chosen & (starts >= limit))[:1]
        earns[ending] = True
        return earns

    def _with_reference(self, batch: Batch) -> Batch:
        if self.reference is None:
            return batch
        import dataclasses

        import torch

        with torch.no_grad():
            found = quantities(self.reference, batch, ("logprobs",))["logprobs"].cpu().numpy()
        return dataclasses.replace(batch, columns={**batch.columns, "reference_logprobs": found})

    def _statistics(
        self,
        grouped: np.ndarray,
        parts: Mapping[str, np.ndarray],
        completions: Sequence[Completion],
        judgements: Sequence[Judgement],
    ) -> dict[str, float]:
        spread = np.nanmax(grouped, 1) - np.nanmin(grouped, 1) if grouped.size else np.zeros(0)
        lengths = [int((~c.forced).sum()) for c in completions]
        means = {f"rewards/{name}/mean": float(np.nanmean(v)) for name, v in parts.items()}
        return {
            "reward": float(np.nanmean(grouped)),
            "reward_std": float(np.nanmean(np.nanstd(grouped, 1))),
            **means,
            "rewards/masked": float(np.isnan(grouped).sum()),
            "frac_reward_zero_std": float((spread == 0).mean()),
            "completions/mean_length": float(np.mean(lengths)),
            "completions/clipped_ratio": float(np.mean([c.stop == "length" for c in completions])),
            "completions/judged_share": float(
                sum(j.credit for j in judgements) / max(1, sum(len(c.text) for c in completions))
            ),
        }

    def _refuse(self, step: int, stats: Mapping[str, float]) -> None:
        if stats["completions/clipped_ratio"] > self.max_clipped:
            share, limit = stats["completions/clipped_ratio"], self.sampling.max_new_tokens
            raise DataRejected(
                f"{share:.0%} of completions are cut at {limit} tokens",
                "raise max_completion_length=, or allow it with max_clipped_ratio=1 where the task judges cut text",
            )
        self.dead = self.dead + 1 if stats["frac_reward_zero_std"] == 1.0 else 0
        if self.dead >= self.dead_limit:
            raise DataRejected(
                f"every group's rewards were the same in {self.dead} steps in a row, up to step {step + 1}",
                "there is nothing to learn from: use another reward, a higher temperature or more num_generations",
            )

    def _keep(
        self,
        step: int,
        prompts: Sequence[Prompt],
        completions: Sequence[Completion],
        reward: np.ndarray,
        parts: Mapping[str, np.ndarray],
        advantages: np.ndarray,
    ) -> None:
        table = pa.table(
            {
                "source": [p.source for p in prompts],
                "prompt": [p.text for p in prompts],
                "completion": [c.text for c in completions],
                "stop": [c.stop for c in completions],
                "reward": reward,
                **{f"rewards.{name}": values for name, values in parts.items()},
                "advantage": advantages,
            }
        )
        with writing(self.folder / "rollouts" / f"{step}.parquet") as handle:
            pq.write_table(table, handle, compression="zstd")
        best = int(np.nanargmax(reward)) if not np.isnan(reward).all() else 0
        row = {
            "step": step,
            "prompt": prompts[best].text,
            "text": completions[best].text,
            "reward": float(reward[best]),
        }
        append_json_lines(self.folder / "samples.jsonl", [row])

    def state_dict(self) -> dict[str, Any]:
        """The place in the prompts' order."""
        return {"at": list(self.at), "dead": self.dead, "too_long": self.prompts.too_long}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a place."""
        self.at, self.dead = (state["at"][0], state["at"][1]), state["dead"]
        self.prompts.too_long = state["too_long"]

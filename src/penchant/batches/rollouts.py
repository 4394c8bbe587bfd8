"""Reinforcement learning as a source of batches: sample, reward, credit, in that order, then hand over batches."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from penchant.batches.credit import Credited, earned, pack
from penchant.batches.episodes import Episodes
from penchant.batches.example_prompts import ExamplePrompts
from penchant.batches.experience import Experience, keep
from penchant.batches.prompts import PromptSet
from penchant.batches.reuse import Reuse
from penchant.batches.sampling import Sampling
from penchant.batches.scoring import Scored, refuse_failures, score
from penchant.batches.spread import cost, sampled, scored_by_first, with_column
from penchant.batches.statistics import differs, mean, statistics, with_given
from penchant.batches.watch import Watch
from penchant.contracts import Algorithm, Reward, Task
from penchant.environments.granularity import actions
from penchant.environments.text import Granularity
from penchant.errors import DataRejected
from penchant.models.decoder import Decoder
from penchant.models.names import decoder_start
from penchant.models.replay import Tape, replays
from penchant.records import Batch, Completion, Prompt
from penchant.runtime.mesh import Mesh
from penchant.text.tokenizer import Tokenizer

__all__ = ["Rollouts", "Sampling"]

MEASURED = 8  # of so many updates one computes all anew, and tells how far sampler and trainer are apart


class Rollouts:
    """A source whose batches are sampled from the policy that is being trained.

    Args:
        reference: the model that the KL is measured to, or None.
        rewards: name -> (reward, weight).
        algorithm: the credit that it gives, and the columns that it needs.
        sampling: how prompts become completions (`complete(model, tokenizer, prompts, seed, first)`, `temperature`,
            `ban`).
        max_clipped_ratio: refuse to go on when more completions than that are cut at the limit.
        max_reward_failures: refuse to go on when a reward raises for more than that share of completions.
        dead_steps: refuse to go on after so many rollouts in a row without two different rewards in any group.
        num_iterations: passes over one rollout, `num_mini_batches`: updates of a pass; with more than one update the
            batches hold `old_logprobs`, fixed once.
        note: tells the person, once a reward, that it failed.
        mesh: the processes, each of which samples its own groups; rewards are asked in the first alone.
        independent: name and reward that are logged beside, and never optimised.
        granularity: what one action is where credit is given a token at a time.
        show: is handed the first rollout, before anything is learned from it.
        replay: updates go on from what sampling computed (`models/replay`), where one update is made of a rollout; but
            every eighth, which measures how far sampler and trainer are apart.
    """

    def __init__(
        self,
        model: Decoder,
        reference: Decoder | None,
        tokenizer: Tokenizer,
        task: Task,
        prompts: PromptSet | ExamplePrompts,
        rewards: Mapping[str, tuple[Reward, float]],
        algorithm: Algorithm,
        sampling: Sampling | Episodes,
        *,
        batch_size: int,
        num_generations: int,
        micro_batch_size: int,
        how: Literal["product", "sum"],
        seed: int,
        folder: Path,
        max_clipped_ratio: float = 0.5,
        max_reward_failures: float = 0.1,
        dead_steps: int = 20,
        num_iterations: int = 1,
        num_mini_batches: int = 1,
        note: Callable[[str], None] = lambda text: None,
        mesh: Mesh | None = None,
        independent: tuple[str, Reward] | None = None,
        granularity: Granularity = "token",
        show: Callable[[Experience], object] = lambda found: None,
        replay: bool = False,
    ):
        self.model, self.reference, self.tokenizer, self.task = model, reference, tokenizer, task
        self.prompts, self.rewards, self.algorithm, self.sampling = prompts, rewards, algorithm, sampling
        self.groups, self.samples, self.micro = batch_size // num_generations, num_generations, micro_batch_size
        self.how, self.seed, self.folder = how, seed, folder
        self.max_clipped, self.max_failures, self.dead_limit = max_clipped_ratio, max_reward_failures, dead_steps
        self.note, self.mesh = note, mesh or Mesh.alone()
        self.reuse = Reuse(num_iterations, num_mini_batches, seed)
        self.noted: set[str] = set()
        self.at = (0, 0)
        self.dead = 0
        self.sampled_tokens = 0  # chosen ones, so far
        self.tape: Tape | None = None
        once = self.reuse.updates == 1 and algorithm.credit is None and not algorithm.dynamic_sampling
        alone = self.mesh.place.ranks == 1 and isinstance(sampling, Sampling)
        if replay and once and alone and replays(model):
            self.tape = Tape()
        self.independent, self.granularity, self.show = independent, granularity, show
        self.watch = None if independent is None else Watch(independent[0], self.note)

    def next(self, step: int) -> tuple[list[Batch], dict[str, float]]:
        """This process's micro-batches of one step; and what the rollouts were like, where they are new."""
        if self.reuse.left:
            return self.mesh.share(self.reuse.next(), cost), {}
        with self.mesh.whole(self.model) as model:
            batches, stats = self._rollout(model, step)
            if self.reuse.updates == 1 and self.algorithm.credit is None:
                return self._with_columns(model, self.mesh.share(batches, cost), share=False), stats
            batches = self._with_columns(model, batches, share=True)
        if self.algorithm.credit is not None:
            batches = self.algorithm.credit(batches)
        self.reuse.begin(batches)
        return self.mesh.share(self.reuse.next(), cost), stats

    def _with_columns(self, model: Decoder, batches: Sequence[Batch], share: bool) -> list[Batch]:
        """Batches with what does not change while the rollout is used."""
        needs = self.algorithm.needs
        if self.reuse.updates > 1 or "old_logprobs" in needs:
            batches = with_column(self.mesh, model, "old_logprobs", batches, share)
        if "old_values" in needs:
            batches = with_column(self.mesh, model, "old_values", batches, share, "values")
        if self.reference is not None:
            batches = with_column(self.mesh, self.reference, "reference_logprobs", batches, share)
        return list(batches)

    def _rollout(self, model: Decoder, step: int) -> tuple[list[Batch], dict[str, float]]:
        """The micro-batches of all processes."""
        model.eval()
        tape = self.tape if step % MEASURED else None
        found, stats = self._live(model, step, tape)
        if tape is not None:
            stats["kept_activations_mb"] = tape.bytes / 1e6
        stats = statistics(found, self.samples) | {"sampled_tokens": float(self.sampled_tokens)} | stats
        stats |= self.beside(found.prompts, found.completions)
        if self.independent is not None and self.watch is not None:
            self.watch.add(stats["reward"], stats[f"independent/{self.independent[0]}"])
        pairs = zip(found.completions, found.credits, strict=True)
        earns = [earned(completion, characters, self.tokenizer) for completion, characters in pairs]
        columns, advantages = self._credit(found, earns)
        if self.mesh.first:
            keep(self.folder, step + 1, found, advantages)
            if step == 0:
                self.show(found)
        self._refuse(step, stats, found.scored)
        cut_off = [self.algorithm.mask_truncated and c.stop == "length" for c in found.completions]
        rollout = Credited(
            found.prompts, found.completions, earns, self.samples, columns, np.isnan(advantages) | cut_off
        )
        updates = self.reuse.minibatches
        batches = pack(
            rollout,
            min(self.micro, max(1, len(found.prompts) // updates)),
            self.mesh.lanes * updates,
            shared=getattr(self.model, "shares_prompts", False),
            start=decoder_start(self.model),
            temperature=self.sampling.temperature,
            banned=self.sampling.ban,
            whole_groups=getattr(self.algorithm.objective, "unit", "token") == "group",
            pairs=self.algorithm.pairs,
            tape=tape,
        )
        return batches, stats

    def _live(self, model: Decoder, step: int, tape: Tape | None) -> tuple[Experience, dict[str, float]]:
        """A rollout; where the algorithm samples dynamically, groups whose rewards are all the same are replaced by
        those of other prompts as long as there are rounds left (Yu et al. 2025, section 3.2).
        """
        rounds = 1 + self.algorithm.dynamic_sampling
        found, stats = self._sampled(model, step * rounds, tape)
        made = 1
        while made < rounds and not (live := differs(found.scored.reward, self.samples)).all():
            more, other = self._sampled(model, step * rounds + made)
            made += 1
            stats = {name: value + other[name] for name, value in stats.items()}
            fresh = np.flatnonzero(differs(more.scored.reward, self.samples))
            order = [*np.flatnonzero(live), *(self.groups + fresh), *np.flatnonzero(~live)]
            found = found.join(more).take(np.array(order[: self.groups]), self.samples)
        if rounds > 1:
            stats["sampling_rounds"] = float(made)
        return found, stats

    def _sampled(self, model: Decoder, number: int, tape: Tape | None = None) -> tuple[Experience, dict[str, float]]:
        """Groups of new prompts, judged; `number` counts rounds of sampling."""
        begin = time.perf_counter()
        stream = self.prompts.start(*self.at)
        prompts = [p for p in (next(stream) for _ in range(self.groups)) for _ in range(self.samples)]
        self.at = (self.prompts.epoch, self.prompts.place)
        if tape is not None:
            most = len(prompts) * self.sampling.max_new_tokens
            tape.clear(most + sum(len(ids) for ids in {prompt.ids for prompt in prompts}))
        completions = self.complete(model, prompts, self.seed, number * len(prompts), self._ahead(prompts), tape)
        self.sampled_tokens += sum(int((~c.forced).sum()) for c in completions)
        judging = time.perf_counter()
        scored, credits = scored_by_first(self.mesh, lambda: self._judge(prompts, completions))
        scored = with_given(scored, completions)
        seconds = {"sampling_seconds": judging - begin, "reward_seconds": time.perf_counter() - judging}
        return Experience(prompts, completions, scored, credits), seconds

    def _credit(self, found: Experience, earns: Sequence[np.ndarray]) -> tuple[dict[str, list[np.ndarray]], np.ndarray]:
        """Columns by token, and one advantage a completion (its reward where credit is given a token at a time)."""
        rewards, completions = found.scored.reward, found.completions
        if self.algorithm.shape is not None:
            lengths = np.array([(~c.forced).sum() for c in completions])
            rewards = self.algorithm.shape(rewards, lengths, self.sampling.max_new_tokens)
        if self.algorithm.advantages is None:
            found_rewards = [np.zeros(len(c.ids), np.float32) if c.rewards is None else c.rewards for c in completions]
            columns = {"rewards": [given.copy() for given in found_rewards]}
            for column, mask, reward in zip(columns["rewards"], earns, rewards, strict=True):
                column[np.flatnonzero(mask)[-1:]] += reward - column.sum()  # earned when the last choice was made
            columns["cut"] = [np.full(len(c.ids), c.stop == "length", np.float32) for c in completions]
            if self.granularity != "token":
                columns["action"] = [
                    actions(c, self.tokenizer, self.granularity).astype(np.float32) for c in completions
                ]
            return columns, rewards
        advantages = self.algorithm.advantages(rewards.reshape(self.groups, self.samples)).reshape(-1)
        advantages = np.where(np.isnan(rewards), np.nan, advantages)  # no verdict: left out, of the KL too
        return {
            "advantages": [np.full(len(c.ids), a) for c, a in zip(completions, advantages, strict=True)]
        }, advantages

    def _ahead(self, prompts: Sequence[Prompt]) -> Callable[[int, Completion], None] | None:
        """What lets rewards that run in processes begin while others are sampled; None where there are none such."""
        pools = [reward for reward, _ in self.rewards.values() if hasattr(reward, "ahead")]
        if not pools or self.mesh.place.ranks > 1:
            return None

        def tell(number: int, completion: Completion) -> None:
            judge = functools.cache(lambda: self.task.judge(prompts[number], completion.text, completion.stop))
            for pool in pools:
                pool.ahead(prompts[number], completion, judge)

        return tell

    def complete(
        self,
        model: Decoder,
        prompts: Sequence[Prompt],
        seed: int,
        first: int,
        tell: Callable[[int, Completion], None] | None = None,
        tape: Tape | None = None,
    ) -> list[Completion]:
        """One completion a prompt, over all processes; `model` is whole."""

        def sample(part: Sequence[Prompt], number: int) -> list[Completion]:
            if isinstance(self.sampling, Sampling):
                return self.sampling.complete(model, self.tokenizer, part, seed, first + number, tell, tape)
            return self.sampling.complete(model, self.tokenizer, part, seed, first + number)

        group = self.samples if len(prompts) % self.samples == 0 else 1
        return sampled(self.mesh, prompts, group, sample)

    def _judge(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> tuple[Scored, list[int]]:
        judgements = [self.task.judge(p, c.text, c.stop) for p, c in zip(prompts, completions, strict=True)]
        scored = score(self.rewards, prompts, completions, judgements, self.how)
        self.tell(scored)
        return scored, [judgement.credit for judgement in judgements]

    def beside(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> dict[str, float]:
        """`independent/NAME`: the mean of what is not optimised; nothing where there is no such metric."""
        if self.independent is None:
            return {}
        name, reward = self.independent

        def judge() -> tuple[Scored, list[int]]:
            judged = [self.task.judge(p, c.text, c.stop) for p, c in zip(prompts, completions, strict=True)]
            return score({name: (reward, 1.0)}, prompts, completions, judged, "sum"), []

        return {f"independent/{name}": mean(scored_by_first(self.mesh, judge)[0].reward)}

    def tell(self, scored: Scored) -> None:
        """Say once of each reward that it failed.

        Raises:
            DataRejected: it failed too often.
        """
        refuse_failures(scored, self.max_failures)
        for name, error in scored.errors.items():
            if name not in self.noted:
                self.noted.add(name)
                self.note(f"reward {name} failed, and such completions are left out (rewards/{name}/failed): {error}")

    def _refuse(self, step: int, stats: Mapping[str, float], scored: Scored) -> None:
        if stats["completions/clipped_ratio"] > self.max_clipped:
            share, limit = stats["completions/clipped_ratio"], self.sampling.max_new_tokens
            raise DataRejected(
                f"{share:.0%} of completions are cut at {limit} tokens",
                "raise max_completion_length=, or allow it with max_clipped_ratio=1 where the task judges cut text",
            )
        self.dead = self.dead + 1 if stats["frac_reward_zero_std"] == 1.0 else 0
        if self.dead < self.dead_limit:
            return
        where = f"in {self.dead} steps in a row, up to step {step + 1}"
        if silent := [name for name, values in scored.parts.items() if np.isnan(values).all()]:
            raise DataRejected(
                f"no completion got a verdict {where}: reward {', '.join(silent)} gave None for each",
                "mend this reward, or leave it out of rewards=",
            )
        alike = [name for name, values in scored.parts.items() if not differs(values, self.samples).any()]
        raise DataRejected(
            f"every group's rewards were the same {where} (reward {', '.join(alike or scored.parts)})",
            "there is nothing to learn from: use another reward, a higher temperature or more num_generations",
        )

    def state_dict(self) -> dict[str, Any]:
        """The place in the prompts' order, and a rollout that is to be used again."""
        return {
            "at": list(self.at),
            "dead": self.dead,
            "too_long": self.prompts.too_long,
            "sampled_tokens": self.sampled_tokens,
            **({} if self.watch is None else {"watch": self.watch.state_dict()}),
            **self.reuse.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a place."""
        self.at, self.dead = (state["at"][0], state["at"][1]), state["dead"]
        self.prompts.too_long, self.sampled_tokens = state["too_long"], state["sampled_tokens"]
        self.reuse.load_state_dict(state)
        if self.watch is not None:
            self.watch.load_state_dict(state["watch"])

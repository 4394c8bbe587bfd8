"""THE loop: every stage that trains runs through it.

An objective returns sums; they are divided once, by the totals of all micro-batches of the step, so no gradient depends
on how the step was cut.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from penchant.contracts import Objective, Source, Stateful
from penchant.errors import NotFinite, PenchantError, Stopped
from penchant.runtime.mesh import Mesh
from penchant.runtime.shard import load_state, state
from penchant.training.gradient import gradient_step
from penchant.training.optimizer import Optimizer

__all__ = ["Recorder", "TrainingPlan", "train"]


@dataclass
class TrainingPlan:
    """What differs between stages.

    Attributes:
        source: gives the micro-batches of a step and its statistics.
        objective: turns quantities into sums.
        steps: optimizer steps in all.
        budget: policy tokens (sampled and trained on) after which training ends before that; None for no such end.
        evaluate: called every `eval_steps` and at the end; returns metrics (it cannot change training).
        eval_steps, save_steps: how often; the last step is always both.
        on_not_finite: what a non-finite loss or gradient does: `skip` the step, `halt`, or `rollback` to the last
            checkpoint and skip that step's batch.
        limits: metric -> (the most it may be, what to do where it is more): such a step ends the run before it moves
            the weights.
        after_update: called after each update with its number (from 1) and metrics; returns metrics to add.
        kept: name -> what else changes while training, saved and restored with the rest.
    """

    source: Source
    objective: Objective
    steps: int
    evaluate: Callable[[int], dict[str, float]] | None = None
    eval_steps: int = 100
    save_steps: int = 100
    on_not_finite: Literal["skip", "halt", "rollback"] = "skip"
    state: dict[str, Any] = field(default_factory=dict)
    limits: Mapping[str, tuple[float, str]] = field(default_factory=dict)
    after_update: Callable[[int, Mapping[str, float]], Mapping[str, float]] | None = None
    kept: Mapping[str, Stateful] = field(default_factory=dict)
    budget: int | None = None


class Recorder(Protocol):
    """What the loop asks of a run: where to go on, where to put metrics and checkpoints, when to stop."""

    def resume(self) -> Mapping[str, Any] | None: ...

    def metrics(self, row: dict[str, Any]) -> None: ...

    def checkpoint(self, step: int, state: dict[str, Any], metrics: Mapping[str, float]) -> None: ...

    def stop(self) -> int: ...


class _Position:
    """Where a run stands, and how to save and restore that."""

    def __init__(self, model: Any, optimizer: Optimizer, plan: TrainingPlan):
        self.model, self.optimizer, self.plan = model, optimizer, plan
        self.step, self.tokens, self.skipped = 0, 0, 0
        self.given_up: set[int] = set()  # steps whose batch a rollback leaves out

    def state(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "num_tokens": self.tokens,
            "skipped": self.skipped,
            "model": state(self.model),
            "optimizer": self.optimizer.state_dict(),
            "source": self.plan.source.state_dict(),
            "plan": self.plan.state,
            "kept": {name: one.state_dict() for name, one in self.plan.kept.items()},
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        load_state(self.model, saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.plan.source.load_state_dict(saved["source"])
        self.plan.state.update(saved["plan"])
        for name, one in self.plan.kept.items():
            one.load_state_dict(saved["kept"][name])
        self.step, self.tokens, self.skipped = saved["step"], saved["num_tokens"], saved["skipped"]

    @property
    def finished(self) -> bool:
        """Whether all steps are done, or the budget of policy tokens is spent."""
        return self.step >= self.plan.steps or (self.plan.budget is not None and self.spent >= self.plan.budget)

    @property
    def spent(self) -> int:
        """Policy tokens, sampled and trained on."""
        return self.tokens + int(getattr(self.plan.source, "sampled_tokens", 0))

    @property
    def done(self) -> float | None:
        """The share of the budget (or of the steps, if that is more) that is spent; None where there is no budget."""
        if self.plan.budget is None:
            return None
        return max(self.spent / self.plan.budget, self.step / self.plan.steps)

    @property
    def likely_steps(self) -> int:
        """How many there will be, as far as the budget lasts at what a step has cost so far."""
        return min(self.plan.steps, max(self.step, round(self.step / self.done))) if self.done else self.plan.steps

    def update(self, loss: float, norm: float, recorder: Recorder) -> float | None:
        """Move the weights, or leave the step out; returns the learning rate, or None after a rollback."""
        if math.isfinite(loss) and math.isfinite(norm) and self.step not in self.given_up:
            return self.optimizer.step(self.step, norm, self.done)
        self.optimizer.clear()
        if self.plan.on_not_finite == "skip" or self.step in self.given_up:
            self.skipped += 1
            return 0.0
        saved = recorder.resume() if self.plan.on_not_finite == "rollback" else None
        if saved is None:
            raise NotFinite(
                f"loss {loss} with gradient norm {norm} at step {self.step}",
                "lower learning_rate, or set on_not_finite=skip; the last checkpoint is good",
            )
        self.given_up.add(self.step)
        self.restore(saved)
        return None


def _refuse(plan: TrainingPlan, step: int, row: Mapping[str, Any]) -> None:
    for name, (most, mend) in plan.limits.items():
        if row.get(name, 0.0) > most:
            raise PenchantError(f"{name} is {row[name]:.3g} at step {step + 1}, more than {most:g}", mend)


def train(
    model: Any,
    optimizer: Optimizer,
    plan: TrainingPlan,
    recorder: Recorder,
    progress: Callable[..., None] = lambda *a, **k: None,
    mesh: Mesh | None = None,
) -> int:
    """Run the remaining steps of a plan; returns the number of steps that were skipped.

    Args:
        mesh: where to compute; None for this process alone, with the intra-op threads it has.

    Raises:
        NotFinite: the loss or gradient is not finite and the plan says halt, or there is nothing to roll back to.
        PenchantError: a metric is above its limit.
        Stopped: a signal asked to stop; the state was saved first.
    """
    mesh = mesh or Mesh.alone()
    at = _Position(model, optimizer, plan)
    if (saved := recorder.resume()) is not None:
        at.restore(saved)
    while not at.finished:
        start = time.perf_counter()
        model.train()
        batches, extra = plan.source.next(at.step)
        row = gradient_step(model, plan.objective, batches, mesh, plan.state)
        del batches  # what they hold is free for the next ones
        counted = int(row.pop("tokens"))
        _refuse(plan, at.step, row)
        norm = optimizer.gradients(mesh) if counted else 0.0
        rate = at.update(row["loss"], norm, recorder)
        if rate is None:
            continue
        at.step, at.tokens = at.step + 1, at.tokens + counted
        if plan.after_update is not None:
            row |= plan.after_update(at.step, row | extra)
        seconds = time.perf_counter() - start
        row |= {"step": at.step, "learning_rate": rate, "grad_norm": norm, "num_tokens": at.tokens}
        row |= extra | {"skipped": at.skipped, "step_seconds": seconds, "tokens_per_second": counted / seconds}
        stopping, last = mesh.most(recorder.stop()), at.finished
        found: dict[str, float] = {}
        if plan.evaluate is not None and (at.step % plan.eval_steps == 0 or last):
            model.eval()
            found = plan.evaluate(at.step)
        recorder.metrics(row | found)
        progress(at.step, at.likely_steps, loss=row["loss"], tokens_per_second=row["tokens_per_second"], **found)
        if found or at.step % plan.save_steps == 0 or last or stopping:  # an evaluated step can be the best
            recorder.checkpoint(at.step, at.state(), found)
        if stopping and not last:
            raise Stopped(stopping)
    return at.skipped

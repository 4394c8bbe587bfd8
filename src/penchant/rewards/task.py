"""The task's own reward: what its judge says of each completion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from penchant.contracts import Context, Judgement, Task
from penchant.records import Completion, Prompt

__all__ = ["Options", "build", "judged"]


class Options(BaseModel):
    """No options: those of the task apply."""

    model_config = ConfigDict(extra="forbid")


def build(options: Options, context: Context) -> Callable[..., list[float | None]]:
    """The reward.

    Raises:
        ValueError: the context has no task.
    """
    task = context.task
    if task is None:
        raise ValueError("the reward `task` needs a task")

    def score(prompts: Sequence[Prompt], completions: Sequence[Completion], **columns: Any) -> list[float | None]:
        return [_reward(one) for one in judged(task, prompts, completions, columns.get("judgements"))]

    return score


def judged(
    task: Task, prompts: Sequence[Prompt], completions: Sequence[Completion], judgements: Sequence[Judgement] | None
) -> Sequence[Judgement]:
    """The judgements of completions: those that a source made already (its column `judgements`), or new ones."""
    if judgements is not None:
        return judgements
    return [task.judge(p, c.text, c.stop) for p, c in zip(prompts, completions, strict=True)]


def _reward(judgement: Judgement) -> float | None:
    num, den = judgement.measures["reward"]
    return num / den if den else None

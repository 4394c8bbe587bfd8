"""Rewards of completions: each part by name, combined; what raises is masked, counted and named, never 0."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from penchant.contracts import Judgement, Reward
from penchant.errors import DataRejected, InputError, PenchantError
from penchant.records import Completion, Prompt

__all__ = ["Scored", "combine", "refuse_failures", "score"]


@dataclass(frozen=True)
class Scored:
    """Rewards of completions.

    Attributes:
        reward: float [completions], NaN where a part gave no verdict.
        parts: name -> float [completions], NaN: no verdict.
        failed: name -> how many completions the reward raised for (or gave no finite number).
        timed_out: name -> how many of them were for want of time.
        errors: name -> the first such failure, in a line.
    """

    reward: np.ndarray
    parts: Mapping[str, np.ndarray]
    failed: Mapping[str, int]
    timed_out: Mapping[str, int]
    errors: Mapping[str, str]

    def take(self, chosen: np.ndarray) -> Scored:
        """The rewards of some completions; failures are those of all."""
        parts = {name: values[chosen] for name, values in self.parts.items()}
        return dataclasses.replace(self, reward=self.reward[chosen], parts=parts)

    def join(self, other: Scored) -> Scored:
        """These and more."""
        parts = {name: np.concatenate([values, other.parts[name]]) for name, values in self.parts.items()}
        failed = {name: count + other.failed[name] for name, count in self.failed.items()}
        late = {name: count + other.timed_out[name] for name, count in self.timed_out.items()}
        reward = np.concatenate([self.reward, other.reward])
        return Scored(reward, parts, failed, late, {**other.errors, **self.errors})


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
) -> Scored:
    """The combined reward and each part by name.

    A reward that raises is asked again for each completion alone, so that one of them costs no others their verdict;
    not where it says that it looks at the `whole_batch` (an attribute of the function): there all are masked.

    Raises:
        InputError: a reward gave another number of values than completions, or a negative one in a product.
    """
    parts: dict[str, np.ndarray] = {}
    failed: dict[str, int] = {}
    late: dict[str, int] = {}
    errors: dict[str, str] = {}
    for name, (reward, _) in rewards.items():
        values, wrong = _values(name, reward, prompts, completions, judgements)
        parts[name], failed[name] = values, len(wrong)
        late[name] = sum(isinstance(error, TimeoutError) for error in wrong)
        if wrong:
            errors[name] = _line(wrong[0])
        if how == "product" and (values < 0).any():
            raise InputError(
                f"reward {name} gave {np.nanmin(values):.3g}, and a product of negative rewards means nothing",
                "set combine=sum, or scale it to [0, 1]",
            )
    weights = np.array([weight for _, weight in rewards.values()])
    return Scored(combine(np.stack(list(parts.values())), weights, how), parts, failed, late, errors)


def refuse_failures(scored: Scored, most: float) -> None:
    """Refuse to go on where a reward failed too often.

    Args:
        most: the share of completions that it may fail for.

    Raises:
        DataRejected: names the reward and its first failure.
    """
    count = len(scored.reward)
    for name, error in scored.errors.items():
        if scored.failed[name] > most * count:
            raise DataRejected(
                f"reward {name} failed for {scored.failed[name]} of {count} completions ({error})",
                f"mend the reward, or raise max_reward_failures= ({most:g}) to leave such completions out",
            )


def _values(
    name: str,
    reward: Reward,
    prompts: Sequence[Prompt],
    completions: Sequence[Completion],
    judgements: Sequence[Judgement],
) -> tuple[np.ndarray, list[Exception]]:
    """Values [completions], NaN: no verdict; and what went wrong, one for each completion that it did for."""
    try:
        given = list(reward(prompts, completions, judgements=judgements))
    except PenchantError:
        raise
    except Exception as error:
        if len(completions) == 1 or getattr(reward, "whole_batch", False):
            return np.full(len(completions), np.nan), [error] * len(completions)
        each = [
            _values(name, reward, prompts[i : i + 1], completions[i : i + 1], judgements[i : i + 1])
            for i in range(len(completions))
        ]
        return np.concatenate([values for values, _ in each]), [error for _, errors in each for error in errors]
    if len(given) != len(completions):
        raise InputError(f"reward {name} gave {len(given)} values for {len(completions)} completions", "give one each")
    wrong: list[Exception] = []
    return np.array([_number(value, wrong) for value in given]), wrong


def _number(value: Any, wrong: list[Exception]) -> float:
    """A value as a float; NaN for None (no verdict), and for an exception or what is no finite number, both noted."""
    if value is None:
        return math.nan
    if isinstance(value, Exception):
        wrong.append(value)
        return math.nan
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.inf
    if math.isinf(number):
        wrong.append(ValueError(f"it gave {str(value)[:40]!r}"))
        return math.nan
    return number


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]

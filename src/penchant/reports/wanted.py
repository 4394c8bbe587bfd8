"""What was wanted of the experiment before it was run, each with what it got; misses are said plainly."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["judge_wanted"]

Models = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class _Wanted:
    """A threshold on two rows of one measure; `got(before, after)` is compared with `limit` by `sense`."""

    name: str
    what: str
    measure: str
    before: str
    after: str
    got: Callable[[float, float], float]
    sense: str
    limit: float
    unit: str = "%"

    def judge(self, models: Models) -> dict[str, Any]:
        pair = [_value(models, row, self.measure) for row in (self.before, self.after)]
        got = None if pair[0] is None or pair[1] is None else self.got(pair[0], pair[1])
        got = got if got is not None and math.isfinite(got) else None
        met = None if got is None else _holds(got, self.sense, self.limit)
        return {
            "name": self.name,
            "what": self.what,
            "wanted": {"sense": self.sense, "limit": self.limit, "unit": self.unit},
            "got": got,
            "met": met,
            "from": {"row": self.before, "measure": self.measure, "value": pair[0]},
            "to": {"row": self.after, "measure": self.measure, "value": pair[1]},
        }


def _fall(before: float, after: float) -> float:
    return 100 * (before - after) / before if before else math.nan


def _rise(before: float, after: float) -> float:
    return 100 * (after - before) / before if before else math.nan


def _gap_closed(before: float, after: float) -> float:
    return (after - before) / (1 - before) if before < 1 else math.nan


def _difference(before: float, after: float) -> float:
    return after - before


_WANTED = (
    _Wanted(
        "conditional_fewer_violations",
        "Conditional pretraining at least halves the violations a line of plain pretraining",
        *("violations_per_line", "mle", "conditional", _fall, ">=", 50.0),
    ),
    _Wanted(
        "conditional_fewer_outside_docstrings",
        "At least 40 % fewer violations a line outside docstring lines (a missing docstring counted in)",
        *("violations_outside_docstring_lines", "mle", "conditional", _fall, ">=", 40.0),
    ),
    _Wanted(
        "tuned_reward",
        "Tuning closes at least 0.4 of the distance between the mean reward and 1",
        *("reward", "conditional", "tuned", _gap_closed, ">=", 0.4, "of the distance"),
    ),
    _Wanted(
        "tuned_fewer_violations",
        "Tuning lowers the violations a line too",
        *("violations_per_line", "conditional", "tuned", _fall, ">", 0.0),
    ),
    _Wanted(
        "tuned_distinct_2",
        "Tuning lowers distinct-2 by less than 15 % (no collapse)",
        *("distinct_2", "conditional", "tuned", _fall, "<", 15.0),
    ),
    _Wanted(
        "tuned_perplexity",
        "Tuning raises the perplexity by less than 10 % over its own start",
        *("perplexity", "conditional", "tuned", _rise, "<", 10.0),
    ),
    _Wanted(
        "tuned_parse_rate",
        "The share that parses does not fall by tuning",
        *("parse_rate", "conditional", "tuned", _difference, ">=", 0.0, "share"),
    ),
    _Wanted(
        "tuned_docstring_rate",
        "The share with a docstring does not fall by tuning",
        *("docstring_rate", "conditional", "tuned", _difference, ">=", 0.0, "share"),
    ),
)


def judge_wanted(models: Models, total_seconds: float | None = None, limit_seconds: float = 0) -> list[dict[str, Any]]:
    """Each threshold with the figure got and whether it is met (None: not measured).

    They were set for house style; another task has none. The time is left out where no limit is given.
    """
    measured = {measure for row in models.values() for measure in row}
    found: list[dict[str, Any]] = []
    if "violations_per_line" in measured:
        found = [w.judge(models) for w in _WANTED if w.measure in measured]
        found.insert(1, _apart(models))
    if limit_seconds and total_seconds is not None:
        found.append(
            {
                "name": "wall_time",
                "what": f"The whole run takes at most {limit_seconds / 60:g} minutes",
                "wanted": {"sense": "<=", "limit": limit_seconds, "unit": "s"},
                "got": total_seconds,
                "met": total_seconds <= limit_seconds,
            }
        )
    return found


def _apart(models: Models) -> dict[str, Any]:
    plain, good = (models.get(row, {}).get("violations_per_line") or {} for row in ("mle", "conditional"))
    low, high = plain.get("low"), good.get("high")
    gap = None if low is None or high is None else low - high
    return {
        "name": "conditional_intervals_apart",
        "what": "The two 95 % intervals of these violations do not touch",
        "wanted": {"sense": ">", "limit": 0.0, "unit": "between the intervals"},
        "got": gap,
        "met": None if gap is None else gap > 0,
    }


def _value(models: Models, row: str, measure: str) -> float | None:
    value = (models.get(row, {}).get(measure) or {}).get("value")
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _holds(got: float, sense: str, limit: float) -> bool:
    return {">=": got >= limit, ">": got > limit, "<": got < limit, "<=": got <= limit}[sense]

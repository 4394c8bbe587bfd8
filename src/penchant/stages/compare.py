"""Compare algorithms that tuned from the same start: figures over seeds, what each cost, and which one to take."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, Field

from penchant.contracts import StageContext
from penchant.errors import InputError
from penchant.evaluation.compare import Side, difference, figure, verdict
from penchant.files import read_json, read_json_lines, write_json
from penchant.reports.compare import write_page

__all__ = ["INPUTS", "Options", "cost", "run"]

INPUTS = ("evaluation", ...)  # and a role a tuning

_TIMES = {"sampling_seconds": "sampling", "reward_seconds": "rewards"}


class Options(BaseModel, extra="forbid"):
    """What is compared."""

    algorithms: dict[str, list[str]] = Field(description="algorithm -> its tunings, one a seed: roles and rows alike")
    references: dict[str, list[str]] = Field({}, description="row that tunes nothing -> the rows of the evaluation")
    independent: str | None = Field(None, description="measure shown beside the reward; null: the first with a side")
    token_budget: int | None = Field(None, ge=1, description="policy tokens that each tuning could use")
    bootstrap: int = Field(1000, ge=2, description="resamples of intervals and tests")


def run(options: Options, context: StageContext) -> dict[str, Any]:
    """Write `compare.json` and `compare.html`.

    Inputs: `evaluation`, and each tuning under the name of its row.

    Raises:
        InputError: the evaluation has no such row or measure.
    """
    found = read_json(context.inputs["evaluation"] / "evaluation.json")
    samples = read_json_lines(context.inputs["evaluation"] / "samples.jsonl")
    measures = found["measures"]
    independent = _independent(options.independent, measures)
    shown = dict.fromkeys(["reward", independent, *(name for name in measures if name in samples[0]["measures"])])
    groups = {**options.algorithms, **options.references}
    runs = {name: [context.inputs[cell] for cell in cells] for name, cells in options.algorithms.items()}
    sides = {name: _sides(samples, rows, list(shown)) for name, rows in groups.items()}
    costs = {
        name: _mean_cost([cost(context.inputs[cell]) for cell in rows]) for name, rows in options.algorithms.items()
    }
    how = (options.bootstrap, context.seed)
    result: dict[str, Any] = {
        "algorithms": {
            name: {"measures": {m: figure(side, *how) for m, side in sides[name].items()}, **costs.get(name, {})}
            for name in groups
        },
        "paired": _paired(sides, list(options.algorithms), list(options.references), ("reward", independent), how),
        "verdict": verdict(
            {name: sides[name]["reward"] for name in options.algorithms},
            {name: costs[name]["seconds"] or 0.0 for name in options.algorithms},
            *how,
        ),
        "measures": {name: measures[name] for name in shown},
        "independent": independent,
        "token_budget": options.token_budget,
        "seeds": max(map(len, options.algorithms.values())),
        "curves": {name: [_curve(folder) for folder in folders] for name, folders in runs.items()},
    }
    write_json(context.folder / "compare.json", result)
    write_page(context.folder / "compare.html", result)
    context.note(result["verdict"]["why"])
    return {"take": result["verdict"]["take"], "why": result["verdict"]["why"]}


def _independent(asked: str | None, measures: Mapping[str, Any]) -> str:
    sided = [name for name, measure in measures.items() if measure["better"] and name != "reward"]
    if asked is not None and asked not in measures:
        raise InputError(f"the evaluation has no measure {asked!r}", f"there are {', '.join(measures)}")
    return asked or next(iter(sided), "reward")


def _sides(samples: Sequence[Mapping[str, Any]], rows: Sequence[str], measures: Sequence[str]) -> dict[str, Side]:
    files = sorted({sample["source"] for sample in samples})
    own = {row: [sample for sample in samples if sample["row"] == row] for row in rows}
    if missing := [row for row, found in own.items() if not found]:
        raise InputError(f"the evaluation has no row {missing[0]!r}", "name a row of its models or best_of")
    return {
        measure: Side.of([[(s["source"], *s["measures"][measure]) for s in own[row]] for row in rows], files)
        for measure in measures
    }


def _paired(
    sides: Mapping[str, Mapping[str, Side]],
    algorithms: Sequence[str],
    references: Sequence[str],
    measures: Sequence[str],
    how: tuple[int, int],
) -> list[dict[str, Any]]:
    """Every two algorithms, and each against what tunes nothing."""
    names = [*references, *algorithms]
    pairs = [(a, b) for i, b in enumerate(names) for a in names[:i] if b in algorithms]
    rows = []
    for a, b in pairs:
        for measure in dict.fromkeys(measures):
            test = difference(sides[a][measure], sides[b][measure], *how)
            figures = {"difference": test.difference, "low": test.low, "high": test.high, "p": test.p}
            rows.append({"a": a, "b": b, "measure": measure, **figures})
    return rows


def cost(folder: Path) -> dict[str, float | None]:
    """What a tuning took: tokens by kind, seconds by kind, memory, and how far it went from its start."""
    done, rows = read_json(folder / "done.json"), read_json_lines(folder / "metrics.jsonl")
    summary = done["summary"]
    kls = [row["kl"] for row in rows if row.get("kl") is not None and math.isfinite(row["kl"])]
    seconds = {kind: sum(row.get(name, 0.0) for row in rows) for name, kind in _TIMES.items()}
    stepping = sum(row["step_seconds"] for row in rows)
    trained = rows[-1]["num_tokens"]
    sampled = max((row.get("sampled_tokens", 0.0) for row in rows), default=0.0)
    return {
        "steps": summary["steps"],
        "policy_tokens": sampled + trained,
        "sampled_tokens": sampled,
        "trained_tokens": trained,
        "reference_tokens": float(summary.get("reference_tokens", 0)),
        "seconds": float(done["seconds"]),
        "sampling_seconds": seconds["sampling"],
        "reward_seconds": seconds["rewards"],
        "training_seconds": stepping - seconds["sampling"] - seconds["rewards"],
        "peak_memory_mb": float(summary["peak_memory_mb"]),
        "kl": float(np.mean(kls[-3:])) if kls else None,
    }


def _mean_cost(costs: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    found: dict[str, Any] = {}
    for name in costs[0]:
        known = [one[name] for one in costs if one[name] is not None]
        found[name] = float(np.mean([x for x in known if x is not None])) if known else None
    return found


def _curve(folder: Path) -> dict[str, list[float]]:
    """Rewards while tuning, by policy tokens spent."""
    rows = [row for row in read_json_lines(folder / "metrics.jsonl") if row.get("reward") is not None]
    return {
        "policy_tokens": [row["num_tokens"] + row.get("sampled_tokens", 0.0) for row in rows],
        "reward": [row["reward"] for row in rows],
        "kl": [row.get("kl") for row in rows],
    }

"""compare.html: algorithms side by side, one self-contained page, from `compare.json` alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from penchant.files import write_text
from penchant.reports.draw import color, figure, svg
from penchant.reports.page import environment
from penchant.reports.rows import number, title

__all__ = ["table", "write_page"]

_TINTS = ("conditional", "tuned", "mle", "other0", "other1", "other2", "other3", "conditional_none")
_COSTS = {
    "policy_tokens": "policy tokens",
    "sampled_tokens": "sampled",
    "trained_tokens": "trained on",
    "reference_tokens": "reference, apart",
    "steps": "steps",
    "seconds": "seconds",
    "sampling_seconds": "sampling",
    "reward_seconds": "rewards",
    "training_seconds": "training",
    "peak_memory_mb": "memory, MB",
    "kl": "KL",
}


def table(found: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Columns, and a row an algorithm: figures with intervals, then what it cost."""
    measures = list(found["measures"])
    columns = ["", *(title(m) for m in measures), *_COSTS.values()]
    rows = []
    for name, one in found["algorithms"].items():
        cells = [_interval(one["measures"][m]) for m in measures]
        costs = ["" if one.get(key) is None else number(one[key]) for key in _COSTS]
        rows.append([name, *cells, *costs])
    return columns, rows


def _interval(one: Mapping[str, Any]) -> str:
    if one["value"] is None:
        return "–"
    span = "" if one["low"] is None else f" [{number(one['low'])}, {number(one['high'])}]"
    return number(one["value"]) + span


def write_page(path: Path, found: Mapping[str, Any]) -> None:
    """Write the page whole or not at all."""
    from markupsafe import Markup

    columns, rows = table(found)
    tests = [
        [row["a"], row["b"], title(row["measure"]), number(row["difference"]), _span(row), _p(row["p"])]
        for row in found["paired"]
        if row["difference"] is not None
    ]
    pictures = [_curves(found, "reward", "Reward while tuning", "curves"), _points(found, "points")]
    pictures += [_curves(found, "kl", "KL to the start (nats a token)", "kl")]
    text = (
        environment()
        .get_template("compare.html.j2")
        .render(
            title="Which algorithm?",
            verdict=found["verdict"],
            found=found,
            columns=columns,
            rows=rows,
            tests=tests,
            pictures=[Markup(picture) for picture in pictures if picture],
        )
    )
    write_text(path, text)


def _span(row: Mapping[str, Any]) -> str:
    return "" if row["low"] is None else f"[{number(row['low'])}, {number(row['high'])}]"


def _p(p: float | None) -> str:
    return "" if p is None else f"{p:.3f}"


def _tint(found: Mapping[str, Any], name: str) -> str:
    return color(_TINTS[list(found["algorithms"]).index(name) % len(_TINTS)])


def _curves(found: Mapping[str, Any], metric: str, heading: str, name: str) -> str | None:
    """A thin line a seed, by policy tokens spent."""
    known = {a: [c for c in runs if any(x is not None for x in c[metric])] for a, runs in found["curves"].items()}
    if not any(known.values()):
        return None
    with figure() as (made, axes):
        for algorithm, runs in known.items():
            for i, run in enumerate(runs):
                points = [(x, y) for x, y in zip(run["policy_tokens"], run[metric], strict=True) if y is not None]
                xs, ys = zip(*points, strict=True)
                label = algorithm if i == 0 else None
                axes.plot(xs, ys, color=_tint(found, algorithm), linewidth=1.2, alpha=0.8, label=label)
        axes.set_title(heading)
        axes.set_xlabel("policy tokens, sampled and trained on")
        axes.legend()
        return svg(made, name, heading)


def _points(found: Mapping[str, Any], name: str) -> str:
    """Reward against the independent measure, with both intervals."""
    other = found["independent"]
    with figure(5.0, 3.6) as (made, axes):
        for algorithm, one in found["algorithms"].items():
            x, y = one["measures"][other], one["measures"]["reward"]
            if x["value"] is None or y["value"] is None:
                continue
            tint = _tint(found, algorithm)
            axes.errorbar([x["value"]], [y["value"]], xerr=_sides(x), yerr=_sides(y), color=tint, ecolor=tint,
                          marker="o", linestyle="none", label=algorithm)  # fmt: skip
        axes.set_xlabel(title(other))
        axes.set_ylabel("reward")
        axes.set_title(f"Reward against {title(other).lower()}")
        made.legend(loc="outside lower left", ncols=3)
        return svg(made, name, f"reward against {other}")


def _sides(one: Mapping[str, Any]) -> Any:
    if one["low"] is None:
        return None
    return np.array([[max(0.0, one["value"] - one["low"])], [max(0.0, one["high"] - one["value"])]])

"""The report's pictures: learning curves, the comparison, the frontier, and the distribution of scores."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import wrap
from typing import Any

import numpy as np

from penchant.reports.draw import color, figure, svg
from penchant.reports.gather import Training
from penchant.reports.rows import is_hot, ordered, row_label, row_style, title

__all__ = ["against", "comparison", "frontier", "learning", "scores"]

_MARKERS = {"mle": "s", "conditional": "o", "conditional_bad": "v", "conditional_none": "D", "tuned": "^", "real": "P"}


def learning(training: Mapping[str, Training], metrics: tuple[str, str], heading: str, name: str) -> str | None:
    """Curves of a metric over steps, a line a stage; the second metric is the same on held-out data, as dots.

    Returns None when no stage has it, or when it never changes.
    """
    logged, held_out = metrics
    shown = {r: s for r, s in training.items() if s.series(logged)[0] or s.series(held_out)[0]}
    values = [v for s in shown.values() for metric in metrics for v in s.series(metric)[1]]
    if not values or (len(values) > 2 and max(values) - min(values) < 1e-3 * abs(max(values))):
        return None
    with figure() as (made, axes):
        for role, stage in shown.items():
            tint = color(row_style(role))
            steps, raw = stage.series(logged)
            if steps:
                if len(raw) > 20:
                    axes.plot(steps, raw, color=tint, alpha=0.2, linewidth=0.6)
                axes.plot(
                    steps,
                    _smooth(raw),
                    color=tint,
                    marker="o" if len(raw) == 1 else "",
                    markersize=3.5,
                    label=row_label(role).partition(",")[0],
                )
            points, seen = stage.series(held_out)
            if points:
                label = f"{row_label(role).partition(',')[0]}, held out"
                axes.plot(points, seen, color=tint, marker="o", markersize=3.5, linewidth=1, linestyle=":", label=label)
        axes.set_title(heading)
        axes.set_xlabel("step")
        _focus(axes, values)
        if len(axes.get_legend_handles_labels()[1]) > 1:
            axes.legend()
        return svg(made, name, f"{heading} by step")


def against(training: Mapping[str, Training], across: str, up: str, name: str) -> str | None:
    """A metric of each stage against another, in the order of its steps, the last one marked (Gao et al. 2023).

    Returns None where no stage has both in two steps.
    """
    shown = {}
    for role, stage in training.items():
        pairs = [(row[across], row[up]) for row in stage.rows if _known(row.get(across)) and _known(row.get(up))]
        if len(pairs) > 1:
            shown[role] = np.array(pairs, float)
    if not shown:
        return None
    with figure() as (made, axes):
        for role, points in shown.items():
            tint = color(row_style(role))
            axes.plot(*points.T, color=tint, alpha=0.25, linewidth=0.7, marker="o", markersize=2)
            line = np.stack([_smooth(points[:, 0].tolist()), _smooth(points[:, 1].tolist())], 1)
            axes.plot(*line.T, color=tint, label=row_label(role).partition(",")[0])
            axes.plot(*line[-1:].T, color=tint, marker="s", markersize=5, linestyle="none")
        axes.set_title(f"{title(up)} against KL to the start")
        axes.set_xlabel("KL (nats a token); the square is the last step")
        if len(shown) > 1:
            axes.legend()
        return svg(made, name, f"{title(up)} against {title(across)}")


def _known(value: Any) -> bool:
    return isinstance(value, int | float) and bool(np.isfinite(value))


def _smooth(values: list[float]) -> np.ndarray:
    """A running mean over about a thirtieth of the curve, shorter at both ends."""
    array = np.asarray(values, dtype=float)
    half = len(array) // 60
    total = np.concatenate([[0.0], np.cumsum(array)])
    low = np.maximum(np.arange(len(array)) - half, 0)
    high = np.minimum(np.arange(len(array)) + half + 1, len(array))
    return (total[high] - total[low]) / (high - low)


def _focus(axes: Any, values: list[float]) -> None:
    """Leave the first steep fall outside, so that the part where the curves differ can be read."""
    if len(values) < 20:
        return
    low, most, high = np.min(values), np.percentile(values, 90), np.max(values)
    if high - low > 2 * (most - low) > 0:
        axes.set_ylim(low - 0.05 * (most - low), low + 1.3 * (most - low))


def comparison(models: Mapping[str, Mapping[str, Any]], measure: str, better: str, name: str) -> str | None:
    """One measure over all rows, with 95 % intervals: filled at the main temperature, hollow at 1."""
    rows = [r for r in ordered([r for r in models if not is_hot(r)]) if _value(models, r, measure) is not None]
    if not rows:
        return None
    hot = any(_value(models, f"{r}_t1", measure) is not None for r in rows)
    with figure(5.0, 0.85 + 0.31 * len(rows)) as (made, axes):
        for place, row in enumerate(reversed(rows)):
            for key, offset, filled in ((row, 0.13 if hot else 0.0, True), (f"{row}_t1", -0.2, False)):
                if _value(models, key, measure) is not None:
                    _dot(axes, models[key][measure], place + offset, row, filled)
        axes.set_yticks(range(len(rows)), [row_label(r) for r in reversed(rows)])
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="y", visible=False)
        side = {"lower": " (lower is better)", "higher": " (higher is better)"}.get(better, "")
        heading = "\n".join(wrap(title(measure) + side, 50))
        made.suptitle(heading, x=0.01, ha="left", fontsize=10, fontweight="bold")
        return svg(made, name, title(measure) + side)


def _dot(axes: Any, figure_: Mapping[str, Any], place: float, row: str, filled: bool) -> None:
    tint, value = color(row_style(row)), figure_["value"]
    low, high = figure_.get("low"), figure_.get("high")
    if low is not None and high is not None:
        axes.plot([low, high], [place, place], color=tint, linewidth=2.2 if filled else 1.0, alpha=0.55)
    face = tint if filled else "none"
    axes.plot([value], [place], color=tint, marker=_MARKERS.get(row, "o"), markersize=6 if filled else 4.5, mfc=face)


def frontier(models: Mapping[str, Mapping[str, Any]], across: str, up: str, name: str) -> str | None:
    """One measure against another with the intervals of both, each row a labelled point."""
    rows = [
        r
        for r in ordered([r for r in models if not is_hot(r)])
        if _value(models, r, across) is not None and _value(models, r, up) is not None
    ]
    if not rows:
        return None
    with figure(5.0, 3.6) as (made, axes):
        for row in rows:
            x, y = models[row][across], models[row][up]
            tint = color(row_style(row))
            axes.errorbar(
                *([x["value"]], [y["value"]]),
                xerr=_sides(x),
                yerr=_sides(y),
                color=tint,
                ecolor=tint,
                elinewidth=1.1,
                marker=_MARKERS.get(row, "o"),
                markersize=7,
                linestyle="none",
                label=row_label(row),
            )
        axes.set_xlabel(title(across))
        axes.set_ylabel(title(up))
        axes.margins(0.12)
        # Below the axes: a legend inside would cover points wherever they happen to fall.
        made.legend(loc="outside lower left", ncols=2)
        return svg(made, name, f"{title(up)} against {title(across)}")


def scores(values: np.ndarray, heading: str, name: str) -> str | None:
    """The distribution of a signal on the training split; the share of each bar, on a scale that shows rare ones."""
    if not len(values):
        return None
    levels, counts = np.unique(values, return_counts=True)
    with figure(5.0, 2.5) as (made, axes):
        if len(levels) <= 12:
            axes.bar([f"{v:g}" for v in levels], counts / len(values), color=color("conditional"), width=0.7)
        else:
            low, high = np.percentile(values, [0.2, 99.8])
            shares, edges = np.histogram(np.clip(values, low, high), bins=40)
            axes.bar(edges[:-1], shares / len(values), np.diff(edges) * 0.9, align="edge", color=color("conditional"))
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
        axes.set_title(heading)
        axes.set_xlabel("score (higher is better)")
        axes.set_ylabel("share of segments")
        axes.grid(axis="x", visible=False)
        return svg(made, name, heading)


def _sides(figure_: Mapping[str, Any]) -> list[list[float]] | None:
    value, low, high = figure_["value"], figure_.get("low"), figure_.get("high")
    return None if low is None or high is None else [[max(0.0, value - low)], [max(0.0, high - value)]]


def _value(models: Mapping[str, Mapping[str, Any]], row: str, measure: str) -> float | None:
    value = ((models.get(row) or {}).get(measure) or {}).get("value")
    return float(value) if isinstance(value, int | float) and np.isfinite(value) else None

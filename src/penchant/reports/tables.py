"""The page's tables as plain values: what a template needs to write a cell, and nothing it must work out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penchant.reports.rows import change, duration, is_hot, number, ordered, row_label, row_style, text_cost, title

__all__ = ["ASIDE", "headline", "start_of", "style_alone", "times", "wanted"]

_STYLE_ALONE = ("pep8_alone_per_line", "violations_outside_docstrings")
# Measured, but not in the first table: they say nearly the same as their neighbours there, or have no better side.
ASIDE = (
    *("style_per_line", "violations_outside_docstrings", "pep8_alone_per_line"),
    *("bits_per_byte", "perplexity_labelled", "bits_per_byte_labelled"),
)


def start_of(row: str, rows: Mapping[str, Any]) -> str | None:
    """The row that a row is measured against: tuned against conditional, conditional against plain."""
    heat = "_t1" if is_hot(row) else ""
    name = row.removesuffix("_t1")
    for start in {"tuned": ("conditional", "mle"), "mle": (), "real": ()}.get(name, ("mle",)):
        if start + heat in rows:
            return start + heat
    return None


def headline(found: Mapping[str, Any], hot: bool, aside: bool = False) -> dict[str, Any]:
    """Rows by measures at one temperature; a cell has its figure, interval, and whether it beats its row's start.

    Args:
        aside: the measures that the first table leaves out, instead of those in it.
    """
    models = found["models"]
    rows = ordered([row for row in models if is_hot(row) == hot])
    measures = found["measures"] or {name: {} for row in rows for name in models[row]}
    shown = [m for m in measures if any((models[row].get(m) or {}).get("value") is not None for row in rows)]
    last = [m for m in ASIDE if m != text_cost(models)]
    shown = [m for m in shown if (m in last or not measures[m].get("better", "lower")) == aside]
    heads = [
        {"name": m, "title": title(m), "help": measures[m].get("help", ""), "better": measures[m].get("better", "")}
        for m in shown
    ]
    lines = []
    for row in rows:
        start = start_of(row, models)
        lines.append(
            {
                "label": row_label(row),
                "style": row_style(row),
                "start": row_label(start) if start else "",
                "cells": [_cell(found, row, start, head) for head in heads],
            }
        )
    return {"heads": heads, "rows": lines if heads else []}


def _cell(found: Mapping[str, Any], row: str, start: str | None, head: Mapping[str, str]) -> dict[str, str]:
    figure = found["models"][row].get(head["name"]) or {}
    value, low, high = (figure.get(key) for key in ("value", "low", "high"))
    cell = {"value": number(value), "interval": "", "verdict": "", "change": "", "n": ""}
    if low is not None and high is not None:
        cell["interval"] = f"{number(low)} to {number(high)}"
    if figure.get("n") is not None:
        cell["n"] = f"n = {figure['n']}" + (f" in {figure['files']} files" if figure.get("files") is not None else "")
    if start is None or value is None:
        return cell
    before = (found["models"][start].get(head["name"]) or {}).get("value")
    cell["change"] = change(before, value)
    if before is not None and before != value and _certain(found, row, start, head["name"]):
        better = {"lower": value < before, "higher": value > before}.get(head["better"])
        cell["verdict"] = "" if better is None else "better" if better else "worse"
    return cell


def _certain(found: Mapping[str, Any], row: str, start: str, measure: str) -> bool:
    """Whether a paired test of these two rows keeps its whole interval on one side of 0."""
    for test in found["paired"]:
        if test.get("measure") == measure and {test.get("a"), test.get("b")} == {row, start}:
            low, high = test.get("low"), test.get("high")
            return low is not None and high is not None and (low > 0 or high < 0)
    return False


def wanted(found: Mapping[str, Any]) -> list[dict[str, str]]:
    """What was wanted, what came, and a word: met, missed, not measured."""
    lines = []
    for item in found["wanted"]:
        sense, limit, unit = (item["wanted"][key] for key in ("sense", "limit", "unit"))
        seconds, got, met = unit == "s", item["got"], item["met"]
        lines.append(
            {
                "what": item["what"],
                "wanted": _bound(sense, limit, unit),
                "got": "–" if got is None else duration(got) if seconds else _amount(got, unit),
                "detail": _detail(item),
                "verdict": "not measured" if met is None else "met" if met else "missed",
                "style": "none" if met is None else "good" if met else "bad",
            }
        )
    return lines


def _bound(sense: str, limit: float, unit: str) -> str:
    sign = {">=": "at least", ">": "more than", "<": "less than", "<=": "at most"}[sense]
    if limit == 0:
        return {"share": "no fall", "%": "a fall"}.get(unit, "a gap")
    return f"{sign} {duration(limit) if unit == 's' else f'{limit:g} {unit}'}"


def _amount(value: float, unit: str) -> str:
    return f"{value:.1f} %".replace("-", "−") if unit == "%" else number(value, signed=unit == "share")


def _detail(item: Mapping[str, Any]) -> str:
    if "from" not in item:
        return ""
    before, after = (number(item[side]["value"]) for side in ("from", "to"))
    return f"{before} → {after}"


def style_alone(found: Mapping[str, Any]) -> list[dict[str, str]]:
    """The style rules without the docstring rule: the row that says how much of the gain is the docstring."""
    models = found["models"]
    measure = next((m for m in _STYLE_ALONE if any(m in row for row in models.values())), None)
    if measure is None:
        return []
    lines = []
    for row in ordered([r for r in models if not is_hot(r)]):
        figure = models[row].get(measure) or {}
        start = start_of(row, models)
        before = (models[start].get(measure) or {}).get("value") if start else None
        bounds = [number(figure.get(k)) for k in ("low", "high")]
        lines.append(
            {
                "label": row_label(row),
                "style": row_style(row),
                "value": number(figure.get("value")),
                "interval": f"{bounds[0]} to {bounds[1]}" if figure.get("low") is not None else "",
                "change": change(before, figure.get("value")) if start else "",
                "start": row_label(start) if start else "",
            }
        )
    return lines


def times(timing: Mapping[str, Any], wall: Mapping[str, float | None]) -> list[dict[str, Any]]:
    """Seconds by kind with the stages of each, and each kind's share of the longest for a bar."""
    stages = timing.get("stages") or {}
    longest = max((v for k, v in wall.items() if v and k != "total"), default=0) or 1
    lines = []
    for kind, seconds in wall.items():
        if seconds is None:
            continue
        parts = [f"{name} {duration(s.get('seconds'))}" for name, s in stages.items() if s.get("kind") == kind]
        lines.append(
            {
                "kind": title(kind),
                "time": duration(seconds),
                "parts": ", ".join(parts) if len(parts) > 1 else "",
                "share": 0 if kind == "total" else round(100 * seconds / longest, 1),
            }
        )
    return lines

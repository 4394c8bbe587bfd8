"""Names for people: rows, measures, numbers and durations."""

from __future__ import annotations

import math
from typing import Any

__all__ = [
    "change",
    "duration",
    "is_hot",
    "number",
    "ordered",
    "primary",
    "row_label",
    "row_style",
    "text_cost",
    "title",
]

_LABELS = {
    "mle": "Plain (MLE)",
    "conditional": "Conditional, asked for good",
    "conditional_bad": "Conditional, asked for bad",
    "conditional_none": "Conditional, asked for nothing",
    "tuned": "Tuned",
    "real": "Real text",
}
_ORDER = list(_LABELS)
_MEASURES = {
    "violations_per_line": "Violations a line",
    "style_per_line": "Style violations a line",
    "syntax_per_line": "Syntax errors a line",
    "violations_outside_docstrings": "Violations a line outside docstrings, docstring rule left out",
    "violations_outside_docstring_lines": "Violations a line outside docstrings",
    "pep8_alone_per_line": "PEP 8 alone, violations a line",
    "bits_per_byte": "Bits a byte",
    "bits_per_byte_labelled": "Bits a byte, with label",
    "parse_rate": "Parses",
    "docstring_rate": "Has a docstring",
    "distinct_2": "Distinct-2",
    "perplexity": "Perplexity",
    "perplexity_labelled": "Perplexity, with label",
    "reward": "Reward",
}
_T1 = "_t1"


def is_hot(row: str) -> bool:
    """Whether a row was sampled at temperature 1."""
    return row.endswith(_T1)


def row_label(row: str) -> str:
    """A row's name for people, its temperature left out."""
    name = row.removesuffix(_T1)
    return _LABELS.get(name) or title(name)


def row_style(row: str) -> str:
    """The name of a row's colour: its own if it is a known one, else one of four by its name."""
    name = row.removesuffix(_T1)
    return name if name in _LABELS else f"other{sum(name.encode()) % 4}"


def title(name: str) -> str:
    """A measure's or stage's name in words."""
    return _MEASURES.get(name) or name.replace("_", " ").replace("/", " ").strip().capitalize()


def ordered(rows: list[str]) -> list[str]:
    """Rows as people read them: known ones first, real text last."""

    def place(row: str) -> tuple[int, int]:
        name = row.removesuffix(_T1)
        known = _ORDER.index(name) if name in _ORDER else len(_ORDER) - 1
        return (len(_ORDER) + 1 if name == "real" else known, rows.index(row))

    return sorted(rows, key=place)


def primary(measures: dict[str, Any], settings: dict[str, Any]) -> str | None:
    """The measure that the experiment is about: named by the settings, else the first that has a better side."""
    named = settings.get("primary")
    if named in measures:
        return str(named)
    sided = [n for n, m in measures.items() if m.get("better") and not n.startswith("perplexity") and n != "reward"]
    return sided[0] if sided else ("reward" if "reward" in measures else None)


def text_cost(models: Any) -> str:
    """The measure of how well held-out text is predicted: perplexity, or bits a byte where that was left out."""
    known = any((row.get("perplexity") or {}).get("value") is not None for row in models.values())
    return "perplexity" if known or not any("bits_per_byte" in row for row in models.values()) else "bits_per_byte"


def number(value: Any, signed: bool = False) -> str:
    """A figure with about three significant digits; `–` where there is none."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        return "–"
    size = abs(value)
    if isinstance(value, int) or (size >= 1000 and float(value).is_integer()) or size >= 10000:
        text = f"{value:+,.0f}" if signed else f"{value:,.0f}"
    else:
        digits = 3 if size < 1 else 2 if size < 100 else 1
        text = f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"
    return text.replace("-", "−").replace(",", "\u202f")


def change(before: Any, after: Any) -> str:
    """The relative change in whole percent, or nothing where it cannot be said."""
    if not all(isinstance(v, int | float) and math.isfinite(v) for v in (before, after)) or before == 0:
        return ""
    return f"{(after - before) / abs(before):+.0%}".replace("-", "−").replace("%", " %")


def duration(seconds: Any) -> str:
    """Seconds as `5 min 45 s`."""
    if not isinstance(seconds, int | float) or not math.isfinite(seconds):
        return "–"
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if not rest and minutes < 60:
        return f"{minutes} min"
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"

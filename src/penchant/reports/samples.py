"""What each row wrote for the same prompt, side by side, with what was found on each line."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from penchant.reports.rows import is_hot, number, ordered, row_label, row_style

__all__ = ["Card", "Comparison", "Line", "choose", "marks_by_code"]

_MOST_LINES = 40


@dataclass(frozen=True)
class Line:
    """One written line and the (code, message) of everything found on it."""

    number: int
    text: str
    marks: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Card:
    """One row's completion of a prompt. `loose` are marks that stand on no line of it (the header's)."""

    label: str
    style: str
    lines: list[Line]
    loose: list[tuple[str, str]]
    facts: list[tuple[str, str]]
    cut: int = 0


@dataclass(frozen=True)
class Comparison:
    """One prompt with a card for each row."""

    source: str
    prompt: str
    hidden: int
    cards: list[Card] = field(default_factory=list)


def choose(samples: Sequence[Mapping[str, Any]], count: int, prompt_lines: int, main: str | None) -> list[Comparison]:
    """Prompts at even distances in the order of the evaluation, so that nobody picks the good ones.

    Args:
        samples: rows of `samples.jsonl`; those at temperature 1 are left out.
        prompt_lines: how many of the prompt's last lines are shown.
        main: the measure to show beside the reward.
    """
    by_prompt: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = defaultdict(dict)
    for sample in samples:
        if not is_hot(sample["row"]):
            by_prompt[(sample.get("source", ""), sample.get("prompt", ""))].setdefault(sample["row"], sample)
    most = max((len(rows) for rows in by_prompt.values()), default=0)
    full = [item for item in by_prompt.items() if len(item[1]) == most]
    if not full or count < 1:
        return []
    step = max(1.0, len(full) / count)
    picked = [full[int((i + 0.5) * step)] for i in range(min(count, len(full)))]
    return [_compare(source, prompt, rows, prompt_lines, main) for (source, prompt), rows in picked]


def _compare(
    source: str, prompt: str, rows: Mapping[str, Mapping[str, Any]], prompt_lines: int, main: str | None
) -> Comparison:
    lines = prompt.splitlines()
    cards = [_card(row, rows[row], main) for row in ordered(list(rows))]
    return Comparison(source, "\n".join(lines[-prompt_lines:]), max(0, len(lines) - prompt_lines), cards)


def _card(row: str, sample: Mapping[str, Any], main: str | None) -> Card:
    found: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for line, code, message in sample.get("marks") or []:
        found[int(line)].append((str(code), str(message)))
    written = str(sample.get("text", "")).rstrip().splitlines()
    lines = [Line(i, text, tuple(found.get(i, ()))) for i, text in enumerate(written[:_MOST_LINES], 1)]
    loose = [mark for line, marks in sorted(found.items()) if not 1 <= line <= len(written) for mark in marks]
    facts = [_fact(name, sample) for name in ("reward", main) if name and name in (sample.get("measures") or {})]
    return Card(row_label(row), row_style(row), lines, loose, facts, max(0, len(written) - _MOST_LINES))


def _fact(name: str, sample: Mapping[str, Any]) -> tuple[str, str]:
    above, below = sample["measures"][name]
    if name.endswith("_per_line"):
        return name.removesuffix("_per_line").replace("_", " "), f"{above:g} in {below:g} lines"
    return name.replace("_", " "), number(above / below if below else None)


def marks_by_code(
    samples: Sequence[Mapping[str, Any]], main: str | None, most: int = 12
) -> tuple[list[str], list[dict[str, Any]]]:
    """How often each code was found, by row: a thousand lines where lines are counted, else a hundred completions.

    Returns:
        The rows, and for each code its name, an example of its message, and a rate for each row.
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    units: Counter[str] = Counter()
    messages: dict[str, str] = {}
    by_line = bool(main and main.endswith("_per_line"))
    for sample in samples:
        if is_hot(sample["row"]):
            continue
        below = (sample.get("measures") or {}).get(main, (0, 1))[1] if by_line else 1
        units[sample["row"]] += below
        for _, code, message in sample.get("marks") or []:
            counts[str(code)][sample["row"]] += 1
            messages.setdefault(str(code), str(message))
    rows = ordered(list(units))
    top = sorted(counts, key=lambda code: (-sum(counts[code].values()), code))[:most]
    scale = 1000 if by_line else 100
    return rows, [
        {
            "code": code,
            "message": messages[code],
            "rates": [scale * counts[code][row] / units[row] if units[row] else None for row in rows],
        }
        for code in top
    ]

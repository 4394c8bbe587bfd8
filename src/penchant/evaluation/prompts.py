"""Prompts to evaluate on: a seeded choice of a task's spots, few from one file, the same for every row."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from penchant.contracts import Spot, Task
from penchant.errors import DataRejected
from penchant.records import Document, Prompt
from penchant.runtime.random import stream

__all__ = ["choose_spots", "prompts_by_way"]

Place = tuple[Document, Spot]
Make = Callable[[Document, Spot], Prompt | None]


def choose_spots(documents: Sequence[Document], task: Task, per_file: int, seed: int) -> list[Place]:
    """All spots in a seeded order, at most `per_file` of a file; a file's choice does not depend on other files.

    Raises:
        DataRejected: the task finds no spot.
    """
    found: list[tuple[float, Document, Spot]] = []
    for document in documents:
        spots = task.spots(document)
        random = stream(seed, "evaluation prompts", document.source)
        for i in random.permutation(len(spots))[:per_file]:
            found.append((float(random.random()), document, spots[int(i)]))
    if not found:
        raise DataRejected("the task finds no prompt in the data", "choose another task or split, or give other text")
    return [(document, spot) for _, document, spot in sorted(found, key=lambda item: item[0])]


def prompts_by_way(places: Sequence[Place], ways: Sequence[Make], count: int) -> list[list[Prompt]]:
    """The first `count` places that every way makes a prompt of: one list a way, in the order of the documents.

    Raises:
        DataRejected: none does (all are too long).
    """
    rows: list[tuple[str, int, list[Prompt]]] = []
    for document, spot in places:
        made = [prompt for way in ways if (prompt := way(document, spot)) is not None]
        if len(made) == len(ways):
            rows.append((document.source, spot.end, made))
        if len(rows) == count:
            break
    if not rows:
        raise DataRejected("every prompt is longer than prompt_tokens", "raise prompt_tokens=")
    rows.sort(key=lambda row: row[:2])
    return [[made[k] for _, _, made in rows] for k in range(len(ways))]

"""What `penchant evaluate` prints in the end: a line a measure, a column a row of models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penchant import console
from penchant.files import read_json
from penchant.reports.rows import number, title
from penchant.runs.layout import RunFolder

__all__ = ["show", "table"]


def show(run: RunFolder) -> None:
    """The table of every evaluation of the run, and where the samples are."""
    for name, stage in (run.recipe() or {}).get("stages", {}).items():
        if stage["kind"] == "evaluate" and run.done(name) is not None:
            found = read_json(run.stage(name) / "evaluation.json")
            columns, rows = table(found)
            settings = found["settings"]
            head = (
                f"{name}: {settings['prompts']} prompts of {settings['split']}, temperature {settings['temperature']:g}"
            )
            console.table(rows, columns, title=f"{head}; 95 % intervals in brackets")
            console.note(f"samples: {run.stage(name) / 'samples.jsonl'}")


def table(found: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Columns, and a line for each measure that any row of models has."""
    names = list(found["models"])
    rows = []
    for measure, meaning in found["measures"].items():
        cells = [_cell(found["models"][name].get(measure)) for name in names]
        if any(cells):
            rows.append([title(measure), *cells, meaning["better"]])
    return ["", *names, "better"], rows


def _cell(one: Mapping[str, Any] | None) -> str:
    if one is None or one["value"] is None:
        return ""
    span = "" if one.get("low") is None else f" [{number(one['low'])}, {number(one['high'])}]"
    return number(one["value"]) + span

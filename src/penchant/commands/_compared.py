"""What `penchant compare` prints in the end."""

from __future__ import annotations

from penchant import console
from penchant.files import read_json
from penchant.reports.compare import table
from penchant.runs.layout import RunFolder

__all__ = ["show"]


def show(run: RunFolder) -> None:
    """The table, the verdict and the page."""
    folder = run.stage("compare")
    found = read_json(folder / "compare.json")
    columns, rows = table(found)
    kept = [0, *range(1, 3), *(columns.index(name) for name in ("KL", "seconds", "policy tokens", "memory, MB"))]
    console.table([[row[i] for i in kept] for row in rows], tuple(columns[i] for i in kept))
    console.note(found["verdict"]["why"])
    console.note(f"page: {folder / 'compare.html'}")

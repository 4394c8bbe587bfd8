"""What `penchant signal train` shows of a trained signal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penchant import console
from penchant.stages._classifier import COLUMNS, table

__all__ = ["show"]


def show(found: Mapping[str, Any]) -> None:
    """The findings for people."""
    rows: list[tuple[str, Any]] = [(name, found["texts"][name]) for name in ("train", "validation", "test")]
    rows += [(f"label {name}", f"{share:.1%}") for name, share in found["label_shares"].items()]
    rows += [(f"left out: {cause}", count) for cause, count in found["left_out"].items()]
    console.table(rows, ("texts", ""))
    console.table(table(found), COLUMNS)
    if found["ceiling"] is not None:
        console.note(f"ceiling: one rater agrees with the others' majority {found['ceiling']:.3f} of the time")
    console.note(f"signal: {{name: classifier, model: {found['folder']}}}; its card: {found['folder']}/README.md")

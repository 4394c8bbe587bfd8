"""frontier.html: misalignment against KL from aligned text, one self-contained page, from `frontier.json` alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from penchant.files import write_text
from penchant.reports.draw import color, figure, svg
from penchant.reports.page import environment
from penchant.reports.rows import number

__all__ = ["table", "write_page"]

_TINTS = ("mle", "conditional", "tuned", "other0", "other1", "other2", "other3", "conditional_none", "conditional_bad")
_SHAPES = "osD^vPX*h"  # so that nobody needs to tell the colours apart


def table(found: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Columns, and a row a model."""
    judged = found["help"]["judge"] is not None
    columns = ["", "misalignment", *(["by the judge"] if judged else []), "KL", "on the frontier"]
    rows = []
    for name, one in found["models"].items():
        cells = [_cell(one[kind]) for kind in ("misalignment", *(("judge",) if judged else ()), "kl")]
        rows.append([name, *cells, f"{one['frontier']:.0%}"])
    return columns, rows


def _cell(one: Mapping[str, Any]) -> str:
    if one["value"] is None:
        return "–"
    return number(one["value"]) + ("" if one["low"] is None else f" [{number(one['low'])}, {number(one['high'])}]")


def write_page(path: Path, found: Mapping[str, Any]) -> None:
    """Write the page whole or not at all."""
    from markupsafe import Markup

    columns, rows = table(found)
    helps = [f"{name}: {text}" for name, text in found["help"].items() if text]
    picture = Markup(_picture(found))
    text = environment().get_template("frontier.html.j2")
    write_text(
        path, text.render(title="Misalignment against KL", columns=columns, rows=rows, helps=helps, picture=picture)
    )


def _picture(found: Mapping[str, Any]) -> str:
    """A point a model with both intervals; a line joins those that nothing beats."""
    with figure(6.4, 4.2) as (made, axes):
        best = []
        for i, (name, one) in enumerate(found["models"].items()):
            x, y = one["kl"], one["misalignment"]
            if x["value"] is None or y["value"] is None:
                continue
            tint = color(_TINTS[i % len(_TINTS)])
            axes.errorbar([x["value"]], [y["value"]], xerr=_sides(x), yerr=_sides(y), color=tint, ecolor=tint,
                          marker=_SHAPES[i % len(_SHAPES)], markersize=7, linestyle="none", label=name)  # fmt: skip
            best.append((x["value"], y["value"]))
        edge = sorted(p for p in best if not any(q[0] < p[0] and q[1] < p[1] for q in best))
        if len(edge) > 1:
            axes.plot(*zip(*edge, strict=True), color=color("real"), linewidth=0.8, linestyle=":", zorder=0)
        axes.set_xlabel("KL from aligned text, nats a token")
        axes.set_ylabel("misalignment a 100 characters")
        axes.set_title("Down and to the left is better")
        made.legend(loc="outside lower left", ncols=3)
        return svg(made, "frontier", "misalignment against KL from aligned text")


def _sides(one: Mapping[str, Any]) -> Any:
    if one["low"] is None:
        return None
    return np.array([[max(0.0, one["value"] - one["low"])], [max(0.0, one["high"] - one["value"])]])

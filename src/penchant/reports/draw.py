"""Matplotlib figures as inline SVG: deterministic, with the page's own fonts, and colours that follow its theme."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["GRID", "INK", "MUTED", "color", "figure", "svg"]

# Matplotlib is given stand-in colours; in the SVG they become the page's CSS variables, light or dark.
INK, MUTED, GRID = "#010203", "#010204", "#010205"
_NAMES = {INK: "ink", MUTED: "muted", GRID: "line"}
_ROWS = ("mle", "conditional", "conditional_bad", "conditional_none", "tuned", "real", "other0", "other1", "other2")
_NAMES |= {f"#0102{16 + i:02x}": f"row-{name}" for i, name in enumerate((*_ROWS, "other3"))}
_CODES = {name.removeprefix("row-"): code for code, name in _NAMES.items()}

_STYLE: dict[Any, Any] = {
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "svg.hashsalt": "penchant",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.formatter.useoffset": False,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}


def color(row_style: str) -> str:
    """The stand-in of a row's colour."""
    return _CODES.get(row_style, MUTED)


@contextmanager
def figure(width: float = 5.0, height: float = 3.1) -> Iterator[tuple[Figure, Axes]]:
    """A figure with one set of axes in the page's style; sizes in inches, 72 units each in the SVG."""
    import matplotlib
    from matplotlib import style
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with style.context("default"), matplotlib.rc_context(_STYLE):
        made = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(made)
        yield made, made.subplots()


def svg(made: Figure, name: str, label: str) -> str:
    """The figure as an `<svg>` element, ids prefixed by `name` so that many stand in one page.

    Args:
        label: what it shows, for those who do not see it.
    """
    from html import escape

    handle = io.StringIO()
    made.savefig(handle, format="svg", metadata={"Date": None}, transparent=True)
    text = handle.getvalue()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:xlink)?="[^"]*"', "", text).replace("xlink:href", "href")
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(href="|url\()#', rf"\1#{name}-", text)
    text = re.sub(r"font: ((?:\w+ )*?)([\d.]+)px [^;\"]*", _font, text)
    text = re.sub(r"#0102\w\w", lambda m: f"var(--{_NAMES.get(m[0], 'ink')})", text)
    size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text)
    assert size is not None
    opening = f'<svg viewBox="{size[0].split(chr(34))[1]}" role="img" aria-label="{escape(label)}">'
    text = re.sub(r"^<svg[^>]*>", lambda _: opening, text)
    return re.sub(r"\s*\n\s*", "\n", text)


def _font(found: re.Match[str]) -> str:
    weight = "; font-weight: 600" if re.search(r"bold|[6-9]00", found[1]) else ""
    return f"font-size: {found[2]}px{weight}"

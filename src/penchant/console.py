"""The only place that prints: data to stdout, talk to stderr, progress as bars or as a line now and then.

A stage calls `report_progress` and `note` wherever it runs. In the child process of a run these become JSON lines
to the parent, which draws the bars of all stages; elsewhere notes go to stderr and progress costs nothing.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any

__all__ = [
    "Board",
    "attach",
    "clock",
    "data",
    "emit",
    "error",
    "note",
    "plain",
    "report_progress",
    "reset",
    "setup",
    "table",
]

_EVERY = 0.1  # seconds between two progress lines of a child
_PLAIN_EVERY = 15.0  # seconds between two lines of a stage where bars cannot be drawn
_writing = threading.Lock()
_events: IO[str] | None = None
_stage = ""
_last = 0.0
_board: Board | None = None


def setup() -> None:
    """Make stdout and stderr unable to fail on characters that the terminal cannot show."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def plain(stream: IO[str] | None = None) -> bool:
    """Whether to draw nothing that moves and no colour: no terminal, NO_COLOR, CI or a dumb terminal."""
    stream = stream or sys.stderr
    terminal = hasattr(stream, "isatty") and stream.isatty()
    return not terminal or any(map(os.environ.get, ("NO_COLOR", "CI"))) or os.environ.get("TERM") == "dumb"


def attach(events: IO[str], stage: str) -> None:
    """From now on this process is the child that runs `stage`: notes and progress go to its parent."""
    global _events, _stage
    _events, _stage = events, stage


def emit(event: str, **fields: Any) -> None:
    """Send one event to the parent; without a parent, or after it has gone, nothing happens."""
    if _events is None:
        return
    line = json.dumps({"event": event, "stage": _stage, **fields}, default=str)
    with _writing:
        try:
            _events.write(line + "\n")
            _events.flush()
        except (BrokenPipeError, ValueError):
            pass  # the watch on the parent ends this process


def report_progress(step: int, total: int, **fields: Any) -> None:
    """Say how far a stage is: `report_progress(step, steps, loss=..., tokens_per_second=...)`.

    Called at each step; lines closer than a tenth of a second are dropped, so it costs nothing worth counting.
    """
    global _last
    now = time.monotonic()
    if _events is None or (now - _last < _EVERY and step < total):
        return
    _last = now
    emit("progress", step=step, steps=total, **{k: _number(v) for k, v in fields.items()})


def note(text: str) -> None:
    """Show one line to the person (stderr)."""
    if _events is not None:
        emit("note", text=text)
    elif _board is not None:
        _board.note(text)
    else:
        _stderr(text)


def error(text: str) -> None:
    """Show the one line of a failure."""
    if _board is not None:
        _board.note(f"penchant: {text}")
    else:
        _stderr(f"penchant: {text}")


def data(value: Any) -> None:
    """Print a result on stdout: a string as it is, anything else as JSON."""
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False, default=str)
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:  # `penchant list recipes | head -1`: the reader has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def table(rows: Iterable[Sequence[Any]], columns: Sequence[str], title: str = "") -> None:
    """Print a table on stdout, aligned; numbers to the right. Without a terminal, columns stand apart by spaces."""
    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    if plain(sys.stdout):
        widths = [max(len(line[i]) for line in [list(columns), *cells]) for i in range(len(columns))]
        lines = [
            "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in [columns, *cells]
        ]
        data("\n".join([*([title] if title else []), *lines]))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(title=title or None, box=box.SIMPLE_HEAD)
    for index, column in enumerate(columns):
        numbers = all(_looks_number(row[index]) for row in cells)
        drawn.add_column(column, justify="right" if numbers and cells else "left", overflow="fold")
    for row in cells:
        drawn.add_row(*(Text(cell) for cell in row))
    Console().print(drawn)


def reset() -> None:
    """Give the terminal back its cursor, before leaving without ceremony."""
    if not plain():
        _stderr("")
        sys.stderr.write("\x1b[?25h")
        sys.stderr.flush()


class Board:
    """The parent's picture of all running stages: one bar a stage, or a line now and then."""

    def __init__(self) -> None:
        self.moving = not plain()
        self._state: dict[str, dict[str, Any]] = {}
        self._progress: Any = None

    def __enter__(self) -> Board:
        global _board
        _board = self
        if self.moving:
            self._progress = _bars()
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        global _board
        _board = None
        if self._progress is not None:
            self._progress.stop()

    def start(self, stage: str) -> None:
        """A stage begins."""
        self._state[stage] = {"began": time.monotonic(), "said": time.monotonic(), "first": None}
        if self._progress is not None:
            self._state[stage]["task"] = self._progress.add_task(stage, total=None, detail="")

    def update(self, stage: str, step: int, steps: int, fields: Mapping[str, Any]) -> None:
        """A stage is at `step` of `steps`."""
        state, now = self._state.get(stage), time.monotonic()
        if state is None:
            return
        if state["first"] is None or step < state["last"][0]:  # what a stage does next counts from the beginning
            state["first"] = (now, step)
        state["last"] = (step, steps)
        detail = ", ".join(f"{_label(k)} {_short(v)}" for k, v in fields.items() if v is not None)
        if self._progress is not None:
            self._progress.update(state["task"], completed=step, total=steps, detail=detail)
        elif now - state["said"] >= _PLAIN_EVERY:
            state["said"] = now
            left = _time_left(state["first"], now, step, steps)
            _stderr(f"{stage}: {step}/{steps}" + (f", {detail}" if detail else "") + left)

    def finish(self, stage: str, text: str) -> None:
        """A stage has ended; its bar gives way to one line."""
        state = self._state.pop(stage, {})
        if self._progress is not None and "task" in state:
            self._progress.remove_task(state["task"])
        self.note(f"{stage}: {text}")

    def note(self, text: str) -> None:
        """A line above the bars."""
        if self._progress is None:
            _stderr(text)
        else:
            self._progress.console.print(_clean(text), markup=False, highlight=False, soft_wrap=True)


def clock(seconds: float) -> str:
    """Seconds as a person says them: 8.1 s, 2:05, 1:02:03."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def _bars() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[detail]}", markup=False),
        console=Console(stderr=True),
        refresh_per_second=4,
        transient=True,
    )


def _stderr(text: str) -> None:
    try:
        sys.stderr.write(_clean(text) + "\n")
        sys.stderr.flush()
    except (BrokenPipeError, ValueError):
        pass  # nobody listens; that is no reason to fail


def _clean(text: str) -> str:
    """Without control characters: a file name must not be able to drive the terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def _time_left(first: tuple[float, int], now: float, step: int, steps: int) -> str:
    done = step - first[1]
    return f", {clock((now - first[0]) / done * (steps - step))} left" if done > 0 and step < steps else ""


def _label(name: str) -> str:
    return {"tokens_per_second": "tokens/s", "eval_loss": "held-out"}.get(name, name.replace("_", " "))


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _number(value: Any) -> Any:
    """A plain number out of a NumPy or torch scalar; None where it is not finite."""
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and (value != value or abs(value) == float("inf")) else value


def _looks_number(text: str) -> bool:
    return text == "" or text[:1].isdigit() or (text[:1] in "-.~" and text[1:2].isdigit())

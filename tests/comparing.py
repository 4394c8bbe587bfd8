"""Everything that a run leaves, in a form in which two runs can be compared."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

# What may differ between two runs: when things happened, how long they took, and the most memory of a process that may
# have been begun anew. Nothing else.
TIMES = {
    *("seconds", "spans", "step_seconds", "sampling_seconds", "reward_seconds", "wall_seconds", "tokens_per_second"),
    *("started", "resumed", "peak_memory_mb"),
}
STORY = {".lock", "log.txt", "timing.json"}  # files that hold times alone, or tell of each attempt
# Lines of the page that show times: the bars, the sum above them, and when it began.
SHOWN = re.compile(r'<td class="bar">|^<strong>[^<]*(?:\d (?:s|min|h)\b)|<th>(?:started|resumed)|class="quiet times"')


def timeless(value: Any) -> Any:
    """The value without its fields of time."""
    if isinstance(value, dict):
        return {key: timeless(inner) for key, inner in value.items() if key not in TIMES}
    return [timeless(inner) for inner in value] if isinstance(value, list) else value


def content(path: Path) -> Any:
    """What a file holds, times apart: a Parquet file or weights byte by byte."""
    if path.suffix == ".jsonl":
        return [timeless(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    if path.suffix == ".json":
        return timeless(json.loads(path.read_text(encoding="utf-8")))
    if path.suffix == ".html":
        return [line for line in path.read_text(encoding="utf-8").splitlines() if not SHOWN.search(line)]
    return path.read_bytes()


def everything(folder: Path) -> dict[str, Any]:
    """Every file of a run folder by its relative path, but those of `STORY`."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name not in STORY)
    return {str(p.relative_to(folder)): content(p) for p in files}

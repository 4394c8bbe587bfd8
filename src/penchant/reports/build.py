"""Put a report together: `report.html`, one self-contained page, and `report.json`, every figure."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from penchant.files import write_json, write_text
from penchant.reports.figures import figures
from penchant.reports.gather import gather
from penchant.reports.page import page

__all__ = ["write_report"]


def write_report(
    inputs: Mapping[str, Path],
    folder: Path,
    *,
    run: Path | None = None,
    title: str = "",
    samples: int = 6,
    prompt_lines: int = 10,
    time_limit: float | None = None,
) -> dict[str, Any]:
    """Write `report.html` and `report.json` into `folder`, from the folders of finished stages.

    Args:
        inputs: role -> stage folder: `data`, `evaluation`, and one for each training stage; any may be missing.
        run: the run folder (recipe, environment, times), if there is one.
        title: the page's heading; by default made of the run's name.
        samples: how many prompts are shown with what each row wrote.
        prompt_lines: how many of a prompt's last lines are shown.
        time_limit: seconds that the whole run was to take; 0 for no such line, None for the recipe's own.

    Returns:
        What `report.json` holds.
    """
    started = time.monotonic()
    material = gather(inputs, run)
    heading = title or _title(material.recipe, run)
    # The page is drawn once for the time it takes (most of the report's) and its time table filled in afterwards.
    drawn = page(
        material, figures(material, 0.0, time_limit), title=heading, samples=samples, prompt_lines=prompt_lines
    )
    found = figures(material, time.monotonic() - started, time_limit)
    write_text(folder / "report.html", drawn(found))
    write_json(folder / "report.json", found)
    return found


def _title(recipe: Mapping[str, Any], run: Path | None) -> str:
    name = recipe.get("name") or (run.name if run is not None else "")
    return f"Penchant: {name}" if name else "Penchant report"

"""Write the report: `report.html`, one self-contained page, and `report.json` with every figure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from penchant.contracts import StageContext
from penchant.reports.build import write_report

__all__ = ["INPUTS", "Options", "run"]

INPUTS = (...,)  # `data`, `evaluation` and a role a training stage, each if there is one


class Options(BaseModel):
    """What a recipe may set for a report."""

    model_config = ConfigDict(extra="forbid")

    title: str = Field("", description="the page's heading; by default made of the run's name")
    samples: int = Field(6, ge=0, le=100, description="prompts shown with what each row wrote")
    prompt_lines: int = Field(10, ge=1, le=200, description="how many of a prompt's last lines are shown")
    time_limit: float | None = Field(
        None, ge=0, description="seconds that the whole run was to take; 0 for none; unset for the recipe's own"
    )


def run(options: Options, context: StageContext) -> dict[str, Any]:
    """Write the two files into the stage's folder; inputs are `data`, `evaluation`, and a role a training stage."""
    found = write_report(
        context.inputs,
        context.folder,
        run=_run_folder(context.folder),
        title=options.title,
        samples=options.samples,
        prompt_lines=options.prompt_lines,
        time_limit=options.time_limit,
    )
    judged = [item["met"] for item in found["wanted"] if item["met"] is not None]
    return {"rows": len(found["models"]), "wanted": len(judged), "met": sum(judged)}


def _run_folder(folder: Path) -> Path:
    """`RUN/stages/NAME` stands two levels below its run."""
    return folder.resolve().parent.parent

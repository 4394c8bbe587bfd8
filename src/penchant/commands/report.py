"""Make the report of a run again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from penchant import console
from penchant.commands._shared import AsJson


def command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")],
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="[key.sub=value]...", help="Options of the report.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make the report of a run again, from what its stages left.

    \b
    Examples:
      penchant report runs/quickstart
      penchant report runs/quickstart --json
    """
    from penchant.errors import InputError
    from penchant.runs.executor import execute
    from penchant.runs.saved import saved_recipe

    recipe, main = saved_recipe(run, "report", settings or [])
    if main is None:
        raise InputError("has no stage of kind report", "give a run whose recipe ends in a report", file=run)
    done = execute(recipe, redo=[main], only=[main], command=["report", str(run)])
    if as_json:
        console.data(done.report)
    else:
        console.data(str(done.path / "report.html"))

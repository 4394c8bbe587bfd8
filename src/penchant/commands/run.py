"""Run a recipe, or what is left of it."""

from __future__ import annotations

from typing import Annotated

import typer

from penchant.commands._shared import Again, AsJson, Config, DryRun, complete_recipe, go

Recipe = Annotated[
    str, typer.Argument(metavar="RECIPE", help="A recipe's name or file.", autocompletion=complete_recipe)
]
Settings = Annotated[
    list[str] | None,
    typer.Argument(metavar="[key.sub=value]...", help="Options over the recipe's.", show_default=False),
]


def command(
    recipe: Recipe,
    settings: Settings = None,
    again: Again = None,
    dry_run: DryRun = False,
    print_config: Config = False,
    as_json: AsJson = False,
) -> None:
    """Run a recipe, or what is left of it.

    Stages that are finished and unchanged are not run again. Ctrl-C saves and prints the line that goes on; a run
    that was killed goes on exactly where it was when it is started again.

    \b
    Examples:
      penchant run quickstart
      penchant run quickstart data.path=src/ seed=1
      penchant run quickstart mle.steps=200 run_dir=runs/short
      penchant run quickstart processes=2
      torchrun --nproc_per_node=2 -m penchant run quickstart
      penchant run quickstart --from evaluate
      penchant run my_recipe.yaml --dry-run
    """
    from penchant import api

    found = api.resolved(recipe, settings or [])
    words = ["run", recipe, *(settings or [])]
    go(found, words, redo=again, dry_run=dry_run, print_config=print_config, as_json=as_json)

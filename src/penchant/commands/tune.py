"""Tune a model from rewards or preferences."""

from __future__ import annotations

from typing import Annotated

import typer

from penchant.commands._shared import Again, AsJson, Config, DryRun, Words, go_stage


def _complete(incomplete: str) -> list[str]:
    from penchant import registry

    return [name for name in registry.names("algorithms") if name.startswith(incomplete)]


Algorithm = Annotated[
    str | None,
    typer.Option("--algorithm", metavar="NAME", help="See `penchant list algorithms`.", autocompletion=_complete),
]


def command(
    words: Words = None,
    algorithm: Algorithm = None,
    again: Again = None,
    dry_run: DryRun = False,
    print_config: Config = False,
    as_json: AsJson = False,
) -> None:
    """Tune a model from rewards or preferences.

    With a RECIPE, runs its stages up to this one; without, this stage alone: `model` is a model's folder or a run,
    `data` a prepared folder, a run, or raw files (which are prepared first).

    \b
    Examples:
      penchant tune model=runs/quickstart/models/conditional data=runs/quickstart --algorithm grpo
      penchant tune model=runs/model data=src/ steps=50 run_dir=runs/tuned
      penchant tune quickstart
    """
    extra = [] if algorithm is None else [f"tune.algorithm={algorithm}"]
    words = [*(words or []), *extra]
    go_stage("tune", words, redo=again, dry_run=dry_run, print_config=print_config, as_json=as_json)

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
    `data` a prepared folder, a run, raw files (which are prepared first), or rows of prompts, answers or preferences
    (.jsonl, .csv, .parquet). In an environment of Gymnasium's neither is needed.

    \b
    Examples:
      penchant tune model=runs/quickstart/models/conditional data=runs/quickstart --algorithm grpo
      penchant tune model=runs/model data=src/ steps=50 run_dir=runs/tuned
      penchant tune quickstart
      penchant tune model=DIR data=pairs.jsonl --algorithm dpo epochs=1
      penchant tune model=DIR data=questions.jsonl --algorithm grpo rewards='[{name: numeric}]'
      penchant tune --algorithm ppo environment=gymnasium:CartPole-v1 steps=2000
    """
    extra = [] if algorithm is None else [f"tune.algorithm={algorithm}"]
    words = [*(words or []), *extra]
    go_stage("tune", words, redo=again, dry_run=dry_run, print_config=print_config, as_json=as_json)


def _algorithms() -> str:
    """Each algorithm and when to take it, a line each, from the first lines of their files."""
    from penchant import registry

    lines = [f"  {name:<21}{registry.describe('algorithms', name)}" for name in registry.names("algorithms")]
    return "\n    ".join(["\b", "Algorithms:", *lines])


command.__doc__ = f"{(command.__doc__ or '').rstrip()}\n\n    {_algorithms()}\n    "

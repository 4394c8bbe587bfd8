"""Measure models on the test part of prepared data."""

from __future__ import annotations

from penchant.commands._shared import Again, AsJson, Config, DryRun, Words, go_stage


def command(
    words: Words = None,
    again: Again = None,
    dry_run: DryRun = False,
    print_config: Config = False,
    as_json: AsJson = False,
) -> None:
    """Measure models on the test part of prepared data.

    With a RECIPE, runs its stages up to this one; without, this stage alone: `data` is a prepared folder or a run,
    `model` a model's folder or a run, `model.NAME` each of several.

    \b
    Examples:
      penchant evaluate model=runs/quickstart data=runs/quickstart
      penchant evaluate model.a=runs/a/models/mle model.b=runs/b/models/mle data=runs/a
      penchant evaluate quickstart --json
    """
    go_stage("evaluate", words, redo=again, dry_run=dry_run, print_config=print_config, as_json=as_json)

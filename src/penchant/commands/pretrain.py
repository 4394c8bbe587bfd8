"""Train a language model from scratch, with or without a preference."""

from __future__ import annotations

from penchant.commands._shared import Again, AsJson, Config, DryRun, Words, go_stage


def command(
    words: Words = None,
    again: Again = None,
    dry_run: DryRun = False,
    print_config: Config = False,
    as_json: AsJson = False,
) -> None:
    """Train a language model from scratch, with or without a preference.

    With a RECIPE, runs its stages up to this one; without, this stage alone: `data` is a prepared folder, a run, or raw
    files (which are prepared first); `tokenizer` a tokenizer's folder (else one is made).

    \b
    Examples:
      penchant pretrain data=runs/mine run_dir=runs/model steps=500
      penchant pretrain data=texts/ tokenizer=runs/quickstart/models/mle
      penchant pretrain quickstart
    """
    go_stage("pretrain", words, redo=again, dry_run=dry_run, print_config=print_config, as_json=as_json)

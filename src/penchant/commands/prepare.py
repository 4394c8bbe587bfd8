"""Read, clean, deduplicate, annotate and split texts."""

from __future__ import annotations

from penchant.commands._shared import Again, AsJson, Config, DryRun, Words, go_stage


def command(
    words: Words = None,
    again: Again = None,
    dry_run: DryRun = False,
    print_config: Config = False,
    as_json: AsJson = False,
) -> None:
    """Read, clean, deduplicate, annotate and split texts.

    With a RECIPE, runs its stages up to this one; without, this stage alone. Files: .py, .txt, .md, .jsonl(.gz), .csv,
    .parquet, folders and globs of them.

    \b
    Examples:
      penchant prepare path=src/ run_dir=runs/mine
      penchant prepare 'path=texts/*.txt' segment=sentence
      penchant prepare quickstart data.path=src/
    """
    go_stage("prepare", words, redo=again, dry_run=dry_run, print_config=print_config, as_json=as_json)

"""Read, clean, deduplicate, annotate and split texts.

With a RECIPE, runs its stages up to this one; without, this stage alone. Files: .txt, .md, .jsonl, .csv, source code
(also with .gz or .zst), .parquet, web archives (.warc, .wet), .mbox, datasets saved to disk, folders and globs of them.

\b
Examples:
  penchant prepare path=src/ run_dir=runs/mine
  penchant prepare 'path=texts/*.txt' segment=sentence
  penchant prepare quickstart data.path=src/
"""

from __future__ import annotations

from penchant.commands._shared import stage_command

command = stage_command("prepare", __doc__)

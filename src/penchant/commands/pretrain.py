"""Train a language model, from scratch or from an existing one, with or without a preference.

With a RECIPE, runs its stages up to this one; without, this stage alone: `data` is a prepared folder, a run, or raw
files (which are prepared first); `tokenizer` a tokenizer's folder (else one is made). `base` is an existing model, of
Hugging Face or a run, that is trained on: control tokens are added to its tokenizer, and its embeddings grow.

\b
Examples:
  penchant pretrain data=runs/mine run_dir=runs/model steps=500
  penchant pretrain data=texts/ tokenizer=runs/quickstart/models/mle
  penchant pretrain data=texts/ base=models/smollm2 objective=conditional context=256 steps=200
  penchant pretrain quickstart
"""

from __future__ import annotations

from penchant.commands._shared import stage_command

command = stage_command("pretrain", __doc__)

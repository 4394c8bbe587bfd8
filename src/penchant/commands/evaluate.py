"""Measure models on the test part of prepared data.

With a RECIPE, runs its stages up to this one; without, this stage alone: `data` is a prepared folder, a run, or a file
of rows of prompts and answers (all of it is measured on); `model` a model's folder or a run, `model.NAME` each of
several. Prints every measure with its interval.

\b
Examples:
  penchant evaluate model=runs/quickstart data=runs/quickstart
  penchant evaluate model.a=runs/a/models/mle model.b=runs/b/models/mle data=runs/a
  penchant evaluate model=MODEL data=questions.jsonl 'task={name: answer, metrics: [exact_match, rouge]}'
  penchant evaluate quickstart --json
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from penchant.commands._shared import stage_command

if TYPE_CHECKING:
    from penchant.runs.layout import RunFolder


def _show(run: RunFolder) -> None:
    from penchant.commands._evaluated import show

    show(run)


command = stage_command("evaluate", __doc__, _show)

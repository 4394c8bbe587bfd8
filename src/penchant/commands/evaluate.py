"""Measure models on the test part of prepared data.

With a RECIPE, runs its stages up to this one; without, this stage alone: `data` is a prepared folder or a run,
`model` a model's folder or a run, `model.NAME` each of several.

\b
Examples:
  penchant evaluate model=runs/quickstart data=runs/quickstart
  penchant evaluate model.a=runs/a/models/mle model.b=runs/b/models/mle data=runs/a
  penchant evaluate quickstart --json
"""

from __future__ import annotations

from penchant.commands._shared import stage_command

command = stage_command("evaluate", __doc__)

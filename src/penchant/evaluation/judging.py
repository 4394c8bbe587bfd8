"""Judge what was written, and write it down for people, one line a completion."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from penchant.contracts import Judgement, Task
from penchant.evaluation.completions import Written
from penchant.files import writing
from penchant.records import Prompt

__all__ = ["judge_all", "write_samples"]


def judge_all(
    task: Task, prompts: Sequence[Prompt], written: Sequence[Written]
) -> tuple[list[Judgement], list[Written]]:
    """A judgement a prompt; of several completions of one, the first with the highest reward."""
    n = len(written) // len(prompts)
    judgements, kept = [], []
    for i, prompt in enumerate(prompts):
        some = written[i * n : (i + 1) * n]
        judged = [task.judge(prompt, one.text, one.stop) for one in some]
        rewards = [j.measures["reward"][0] / (j.measures["reward"][1] or np.inf) for j in judged]
        best = int(np.argmax(rewards))
        judgements.append(judged[best])
        kept.append(some[best])
    return judgements, kept


def write_samples(
    path: Path,
    prompts: Mapping[str, list[Prompt]],
    base: Callable[[str], str],
    judged: Mapping[str, list[Judgement]],
    written: Mapping[str, list[Written]],
) -> None:
    """One line a completion; `text` is the part that was judged, which its marks count lines in."""
    with writing(path, "w") as handle:
        for name, judgements in judged.items():
            for prompt, one, judgement in zip(prompts[base(name)], written[name], judgements, strict=True):
                row = {
                    "row": name,
                    "source": prompt.source,
                    "prompt": prompt.text,
                    "text": judgement.text,
                    "stop": one.stop,
                    "measures": {k: list(v) for k, v in judgement.measures.items()},
                    "marks": [[mark.line, mark.code, mark.message] for mark in judgement.marks],
                    "tokens": one.tokens,
                }
                handle.write(json.dumps(row) + "\n")

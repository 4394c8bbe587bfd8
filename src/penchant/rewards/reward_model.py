"""A trained reward model's score of a completion, or of its steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, Field

from penchant.contracts import Context
from penchant.errors import InputError
from penchant.records import Completion, Prompt
from penchant.text.template import Template

__all__ = ["Options", "build"]


class Options(BaseModel, extra="forbid"):
    """Which model, and what becomes of its scores."""

    model: str = Field(description="folder of a reward model, as `penchant tune --algorithm reward_model` writes it")
    steps: Literal["last", "mean", "min"] = Field(
        "last", description="last: the whole answer's score; mean, min: of its lines (a process reward model)"
    )
    probability: bool = Field(False, description="1 / (1 + exp(-score)) instead of the score")
    chat_template: str | None = Field(None, description="file of a Jinja template; null: the model's own")


def build(options: Options, context: Context) -> Callable[..., list[float | None]]:
    """The reward; None for a completion with nothing but space.

    Raises:
        InputError: the folder holds no reward model.
    """
    from penchant.models.heads import load_heads
    from penchant.models.load import load_model, load_tokenizer
    from penchant.models.scorer import SCORE, scores

    folder = Path(options.model)
    folder = folder / "model" if (folder / "model" / "config.json").is_file() else folder
    model = load_model(folder)
    if not load_heads(model, folder) or SCORE not in model.state_dict():
        mend = "give a folder that --algorithm reward_model or process_reward_model wrote"
        raise InputError("holds no reward model", mend, file=folder)
    own = None if options.chat_template is None else Path(options.chat_template).read_text(encoding="utf-8")
    tokenizer = load_tokenizer(folder)
    template = Template(tokenizer, own)
    limit = model.config.max_position_embeddings

    def ids_of(prompt: Prompt, completion: Completion) -> tuple[list[int], list[int]]:
        asked = prompt.columns.get("prompt", prompt.text)
        said = completion.text if isinstance(asked, str) else [{"role": "assistant", "content": completion.text}]
        before, after = template.pair_ids(asked, said)
        ids = [*before, *after][-limit:]
        ends = [i for i, token in enumerate(ids) if i >= len(ids) - len(after) and _ends_line(tokenizer, token)]
        return ids, sorted({*ends, len(ids) - 1}) if options.steps != "last" else [len(ids) - 1]

    def score(prompts: Sequence[Prompt], completions: Sequence[Completion], **columns: Any) -> list[float | None]:
        said = [i for i, completion in enumerate(completions) if completion.text.strip()]
        pairs = [ids_of(prompts[i], completions[i]) for i in said]
        found: list[float | None] = [None] * len(completions)
        for i, values in zip(said, scores(model, [ids for ids, _ in pairs], [at for _, at in pairs]), strict=True):
            if options.probability:
                values = 1 / (1 + np.exp(-values.astype(float)))
            found[i] = float({"last": values[-1], "mean": values.mean(), "min": values.min()}[options.steps])
        return found

    return score


def _ends_line(tokenizer: Any, token: int) -> bool:
    return bool(tokenizer.newline_id is not None and token == tokenizer.newline_id)

"""What rewards read of a row: the column of a prompt, by name."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from penchant.errors import InputError
from penchant.records import Prompt

__all__ = ["column", "references"]


def column(prompt: Prompt, name: str, reward: str) -> Any:
    """A row's value.

    Raises:
        InputError: there is no such column; names the nearest.
    """
    if name in prompt.columns:
        return prompt.columns[name]
    there = [str(key) for key in prompt.columns]
    near = difflib.get_close_matches(name, there, n=1)
    mend = f"did you mean {near[0]!r}? " if near else ""
    raise InputError(
        f"reward {reward} needs a column {name!r}", f"{mend}the columns are {', '.join(there) or 'none'}; set column="
    )


def references(prompt: Prompt, name: str, reward: str) -> Sequence[str]:
    """A row's references: a list, or one text; of SQuAD's answers their texts.

    Raises:
        InputError: as `column`.
    """
    value = column(prompt, name, reward)
    if isinstance(value, dict) and "text" in value:
        value = value["text"]
    if isinstance(value, list | tuple):
        return [one["content"] if isinstance(one, dict) else str(one) for one in value]
    return [str(value)]

"""Completions of prompts, sampled once and stored whole before use, so that a stopped evaluation goes on."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from penchant.errors import Stopped
from penchant.files import read_json_lines, writing
from penchant.records import Prompt
from penchant.text.tokenizer import Tokenizer

__all__ = ["Generate", "Sampling", "Written", "real", "sample", "stored"]

AT_ONCE = 512  # requests between two looks at whether to stop; the same cuts give the same bits


class Generate(Protocol):
    """`sampling.engine.generate` with its model given."""

    def __call__(self, prompts: Sequence[Sequence[int]], **request: Any) -> list[Any]: ...


@dataclass(frozen=True, slots=True)
class Written:
    """A completion as far as judging needs it; `tokens` leaves out forced ones."""

    text: str
    stop: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a row is sampled; `insert` says what is forced after which token (control tokens that are asked for)."""

    ask: str | None
    temperature: float
    max_new_tokens: int
    n: int
    seed: int
    insert: Mapping[int, int] = field(default_factory=dict)
    q_weight: float = 0.0


def sample(
    generate: Generate,
    tokenizer: Tokenizer,
    prompts: Sequence[Prompt],
    how: Sampling,
    stop: Callable[[], int],
    tell: Callable[[int, int], None],
) -> list[Written]:
    """`how.n` completions of each prompt, n in a row.

    Args:
        stop: looked at between groups of requests.
        tell: called with completions done and wanted.

    Raises:
        Stopped: a signal asked to.
    """
    ids = [prompt.ids for prompt in prompts for _ in range(how.n)]
    found: list[Written] = []
    for first in range(0, len(ids), AT_ONCE):
        if number := stop():
            raise Stopped(number)
        for one in generate(
            ids[first : first + AT_ONCE],
            max_new_tokens=how.max_new_tokens,
            end=(tokenizer.eos_id,),
            temperature=how.temperature,
            ban=tuple(i for i in tokenizer.special_ids if i != tokenizer.eos_id),
            insert=dict(how.insert),
            q_weight=how.q_weight,
            seed=how.seed,
            first=first,
        ):
            found.append(Written(tokenizer.decode(list(one.ids)), one.stop, int((~one.forced).sum())))
        tell(len(found), len(ids))
    return found


def real(tokenizer: Tokenizer, prompts: Sequence[Prompt], max_new_tokens: int) -> list[Written]:
    """What the documents themselves go on with, cut to `max_new_tokens` tokens as a model's text is."""
    found = []
    for ids in tokenizer.encode_batch([str(prompt.columns["reference"]) for prompt in prompts]):
        kept = ids[:max_new_tokens]
        found.append(Written(tokenizer.decode(kept), "length" if len(ids) > len(kept) else "end", len(kept)))
    return found


def stored(path: Path, key: str, make: Callable[[], list[Written]]) -> list[Written]:
    """What the file holds if it was written under the same key, else what `make` gives, stored first."""
    rows = read_json_lines(path)
    if rows and rows[0] == {"key": key, "count": len(rows) - 1}:
        return [Written(**row) for row in rows[1:]]
    written = make()
    with writing(path, "w") as handle:
        head: Mapping[str, Any] = {"key": key, "count": len(written)}
        for row in (head, *({"text": w.text, "stop": w.stop, "tokens": w.tokens} for w in written)):
            handle.write(json.dumps(row, ensure_ascii=True) + "\n")
    return written

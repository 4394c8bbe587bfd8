"""Find texts that share runs of words with evaluation sets."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

__all__ = ["overlap"]

# Han characters and kana are words of their own, as in `deduplicate`.
_WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]|[^\W\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+"
)


def overlap(evaluation: Iterable[str], n: int = 13) -> Callable[[str], str | None]:
    """A rule: the first run of `n` words that a text shares with any evaluation text, or None.

    13 words, case and punctuation aside, as in "Language models are few-shot learners" (Brown et al. 2020, appendix C).
    Evaluation texts of fewer words count by all of their words, those of fewer than 5 not at all.
    """
    runs: dict[int, set[str]] = {}
    for text in evaluation:
        words = _words(text)
        width = min(n, len(words))
        if width >= min(n, 5):
            runs.setdefault(width, set()).update(_runs(words, width))

    def rule(text: str) -> str | None:
        words = _words(text)
        for width, known in sorted(runs.items()):
            for run in _runs(words, width):
                if run in known:
                    return f"{width} words of an evaluation text: {run}"
        return None

    return rule


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _runs(words: list[str], n: int) -> list[str]:
    return [" ".join(words[k : k + n]) for k in range(len(words) - n + 1)]

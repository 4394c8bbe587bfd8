"""Windows of text made into tasks: hidden words to fill in (BERT), lost spans to write (T5), a text to restore (BART).

A window's noise is drawn from its number in the whole of training, so that each pass over the corpus hides other words,
and a run that goes on draws what it would have drawn. Control tokens and the ends of documents are never touched.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from penchant.data.pack import masked_batch, pair_batch
from penchant.records import Batch, Encoded
from penchant.runtime.random import stream
from penchant.text.tokenizer import Tokenizer

__all__ = ["MASK", "SENTINELS", "Denoise", "Mask", "sentinel", "spans", "words_at"]

MASK, SENTINELS = "mask", 64


def sentinel(number: int) -> str:
    """The name of the control token that stands for a lost span."""
    return f"extra_{number}"


def words_at(edges: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """bool [T]: where a word begins: at white space (which stands first in a byte-level token), and after it.

    Args:
        edges: bool [vocabulary, 2], whether a token begins and ends with white space.
    """
    after = np.concatenate([[True], edges[ids[:-1], 1]])
    return np.asarray(edges[ids, 0] | after, bool)


@dataclass(frozen=True)
class Mask:
    """BERT's task with whole words: 15 % of the tokens are asked for; of these 80 % are masked, 10 % swapped for
    another token, 10 % left as they are (Devlin et al. 2019, section 3.1; whole words: their code's README).
    """

    tokenizer: Tokenizer
    seed: int
    share: float = 0.15

    @functools.cached_property
    def edges(self) -> np.ndarray:
        """bool [vocabulary, 2], see `words_at`."""
        texts = [self.tokenizer.decode([i]) for i in range(self.tokenizer.vocab_size)]
        return np.array([(text[:1].isspace(), text[-1:].isspace()) for text in texts])

    @functools.cached_property
    def text(self) -> np.ndarray:
        """Tokens that are no special ones."""
        return np.setdiff1d(np.arange(self.tokenizer.vocab_size), self.tokenizer.special_ids)

    def __call__(self, windows: Sequence[Encoded], numbers: Sequence[int], what: str = "noise") -> Batch:
        """A batch of windows, each by its number."""
        pairs = [self._one(window, stream(self.seed, what, n)) for window, n in zip(windows, numbers, strict=True)]
        columns = {name: [w.columns[name] for w in windows] for name in windows[0].columns}
        mask = self.tokenizer.control_ids[MASK]
        return masked_batch(
            [w.ids for w in windows], [h for h, _ in pairs], mask, [s for _, s in pairs], columns=columns
        )

    def _one(self, window: Encoded, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """(hidden, shown): which tokens are asked for, and what stands there instead."""
        ids = np.asarray(window.ids)
        free = ~(window.control | np.isin(ids, self.tokenizer.special_ids))
        word = np.cumsum(words_at(self.edges, ids) | ~free)
        hidden = np.zeros(len(ids), bool)
        wanted = max(1, round(self.share * free.sum()))
        for chosen in random.permutation(np.unique(word[free])):
            if hidden.sum() >= wanted:
                break
            hidden |= (word == chosen) & free
        fate = random.random(len(ids))
        others = self.text[random.integers(0, len(self.text), len(ids))]
        mask = self.tokenizer.control_ids[MASK]
        shown = np.where(hidden & (fate < 0.8), mask, np.where(hidden & (fate >= 0.9), others, ids))
        return hidden, shown


@dataclass(frozen=True)
class Denoise:
    """A text with lost spans, for sequence-to-sequence models.

    T5's (`restore` False): a sentinel for each span, and the target says what was there (Raffel et al. 2020, section
    3.1.4). BART's: one mask a span, and the target is the whole text (Lewis et al. 2020, text infilling).

    Args:
        start: the token that the decoder begins with.
        share: of the tokens that are lost; `span`: their mean length.
    """

    tokenizer: Tokenizer
    seed: int
    start: int
    restore: bool = False
    share: float = 0.15
    span: float = 3.0

    def __call__(self, windows: Sequence[Encoded], numbers: Sequence[int], what: str = "noise") -> Batch:
        """A batch of windows, each by its number."""
        made = [self._one(window, stream(self.seed, what, n)) for window, n in zip(windows, numbers, strict=True)]
        targets = [target for _, target, _ in made]
        columns = {
            name: [w.columns[name][places] for w, (_, _, places) in zip(windows, made, strict=True)]
            for name in windows[0].columns
        }
        return pair_batch([source for source, _, _ in made], targets, self.start, None, columns)

    def _one(self, window: Encoded, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Source, target, and for each token of the target where in the window its columns stand."""
        ids, eos = np.asarray(window.ids), self.tokenizer.eos_id
        free = ~(window.control | np.isin(ids, self.tokenizer.special_ids))
        lost = spans(len(ids), self.share, self.span, random) & free
        begins = lost & ~np.concatenate([[False], lost[:-1]])
        number = np.minimum(np.cumsum(begins) - 1, SENTINELS - 1)
        names = self.tokenizer.control_ids
        signs = np.array([names[MASK if self.restore else sentinel(max(0, n))] for n in number.tolist()])
        source = np.append(np.where(begins, signs, ids)[begins | ~lost], eos)
        if self.restore:
            kept = free.nonzero()[0]
            return source, np.append(ids[kept], eos), np.append(kept, len(ids) - 1)
        target, places = [], []
        for i in lost.nonzero()[0].tolist():
            if begins[i]:
                target.append(int(signs[i]))
                places.append(i)
            target.append(int(ids[i]))
            places.append(i)
        return source, np.array([*target, eos]), np.array([*places, len(ids) - 1])


def spans(length: int, share: float, mean: float, random: np.random.Generator) -> np.ndarray:
    """bool [length]: tokens lost in spans of a mean length, apart from each other, in random places; at least one.

    Lost and kept tokens are both cut into as many pieces at random, which alternate (Raffel et al. 2020, their code).
    """
    lost = min(max(1, round(length * share)), length - 1) if length > 1 else length
    count = max(1, min(round(lost / mean), lost, length - lost)) if length > 1 else 1

    def cut(total: int) -> np.ndarray:
        inner = np.sort(random.choice(np.arange(1, total), count - 1, replace=False)) if count > 1 else np.zeros(0, int)
        return np.diff(np.concatenate([[0], inner, [total]]))

    if length <= 1:
        return np.ones(length, bool)
    sizes = np.stack([cut(length - lost), cut(lost)], 1).reshape(-1)
    return np.repeat(np.arange(len(sizes)) % 2 == 1, sizes)

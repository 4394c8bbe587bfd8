"""Documents as endless, shuffled micro-batches of a fixed number of content tokens a step.

Windows of whole documents are drawn without replacement, epoch by epoch; a step takes windows until its share of
content tokens (control tokens not counted) is reached, so runs with and without control tokens see equally much text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from penchant.batches.spread import cut
from penchant.contracts import Transform
from penchant.data.pack import next_token_batch
from penchant.errors import DataRejected, InputError
from penchant.records import Batch, Document, Encoded
from penchant.runtime.mesh import Mesh
from penchant.runtime.random import stream
from penchant.text.control import encode_document
from penchant.text.tokenizer import Tokenizer

__all__ = ["Corpus", "Pack", "encode", "encoded", "next_tokens", "plain"]

Pack = Callable[..., Batch]  # (windows, numbers, what the noise is drawn for)


def plain(tokenizer: Tokenizer) -> Transform:
    """A document's tokens as they are."""

    def transform(document: Document, number: int, heldout: bool) -> Encoded:
        return Encoded(*encode_document(document, tokenizer))

    return transform


def encode(documents: Iterable[Document], tokenizer: Tokenizer, transform: Transform, heldout: bool) -> list[Encoded]:
    """Documents as tokens, see `encoded`; those that the transform leaves out are not there."""
    return [one for one in encoded(documents, tokenizer, transform, heldout) if one is not None]


def encoded(
    documents: Iterable[Document], tokenizer: Tokenizer, transform: Transform, heldout: bool
) -> Iterator[Encoded | None]:
    """Documents as tokens, an end token on both sides; None for one that the transform leaves out.

    Raises:
        InputError: the transform gave arrays of different lengths, or columns to some documents alone.
    """
    names = None
    for number, document in enumerate(documents):
        one = transform(document, number, heldout)
        if one is None or not len(one.ids):
            yield None
            continue
        lengths = {len(one.ids), len(one.control), *map(len, one.columns.values())}
        names = one.columns.keys() if names is None else names
        if len(lengths) > 1 or names != one.columns.keys():
            raise InputError(
                "the objective's transform gave arrays of different lengths, or other columns than before",
                "mend it: one entry a token, the same columns for each document",
                file=document.source,
            )
        ids = np.pad(one.ids.astype(np.int32), 1, constant_values=tokenizer.eos_id)
        columns = {name: np.pad(values, 1, mode="edge") for name, values in one.columns.items()}
        yield Encoded(ids, np.pad(one.control, 1), columns)


class Corpus:
    """A source of next-token batches.

    Args:
        windows: such as `data.shards.Windows`.
        content_tokens: labels of one optimizer step, over all micro-batches.
        micro_batch_size: windows of one micro-batch at most.
        mesh: the threads and processes that a step is cut for.
        pack: (windows, their numbers in the whole of training) -> a batch; by default the next token is asked for.
            Where it has a `begin(step)`, that is called before each step and gives statistics.
    """

    def __init__(
        self,
        windows: Sequence[Encoded],
        content_tokens: int,
        micro_batch_size: int,
        seed: int,
        mesh: Mesh | None = None,
        pack: Pack | None = None,
    ):
        if not windows:
            raise DataRejected(
                "no training text is left: every window has an empty loss mask",
                "give more text, or check segment= and signal=",
            )
        self.windows, self.per_step, self.micro, self.seed = windows, content_tokens, micro_batch_size, seed
        counts = getattr(windows, "counts", None)
        self.counts = [int((~w.control[1:]).sum()) for w in windows] if counts is None else counts
        self.mesh, self.pack = mesh or Mesh.alone(), pack or next_tokens
        self.taken = 0  # windows drawn so far
        self.content = 0  # content tokens drawn so far
        self._epoch, self._order = -1, np.zeros(0, np.int64)

    @property
    def epochs(self) -> float:
        """How often the corpus was gone through so far."""
        return self.taken / len(self.windows)

    def _window(self, number: int) -> int:
        epoch, place = divmod(number, len(self.windows))
        if epoch != self._epoch:
            self._epoch, self._order = epoch, stream(self.seed, "epoch", epoch).permutation(len(self.windows))
        return int(self._order[place])

    def next(self, step: int) -> tuple[list[Batch], dict[str, float]]:
        """This process's micro-batches of one step; statistics: content tokens so far and epochs."""
        told = self.pack.begin(step) if hasattr(self.pack, "begin") else {}
        chosen: list[tuple[Encoded, int]] = []
        while self.content < (step + 1) * self.per_step:
            at = self._window(self.taken)
            chosen.append((self.windows[at], self.taken))
            self.taken += 1
            self.content += int(self.counts[at])
        groups = cut(chosen, self.micro, self.mesh.lanes)
        mine = self.mesh.share(groups, lambda group: sum(len(window.ids) for window, _ in group))
        batches = [self.pack([window for window, _ in group], [n for _, n in group]) for group in mine]
        return batches, {"content_tokens": self.content, "epoch": round(self.epochs, 4), **told}

    def state_dict(self) -> dict[str, Any]:
        """The position in the data."""
        return {"taken": self.taken, "content": self.content}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a position."""
        self.taken, self.content = state["taken"], state["content"]


def next_tokens(windows: Sequence[Encoded], numbers: Sequence[int], what: str = "") -> Batch:
    """A batch in which each content token is asked for given those before it."""
    columns = {name: [window.columns[name] for window in windows] for name in windows[0].columns}
    return next_token_batch([window.ids for window in windows], [~window.control for window in windows], columns)

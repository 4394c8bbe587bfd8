"""How a model's text was laid out in training, kept beside it as `penchant.json`, so that it is asked in the same way.

A sampler can force a control token only after a token. A line ends with the newline, a token of its own: exact. Of
sentences, the tokens that mostly stand last in one (a lone space, a newline, a Chinese full stop) are learned from the
training texts; `agreement` says how well they tell where sentences of the validation texts end.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from penchant.errors import CorruptCheckpoint, InputError
from penchant.files import read_json, write_json
from penchant.records import Document
from penchant.text.control import Bins, encode_document, resolve_threshold
from penchant.text.segment import UNITS, segment_ends
from penchant.text.tokenizer import Tokenizer

__all__ = ["FILE", "Conditioning", "agreement", "segment_closers"]

FILE = "penchant.json"


@dataclass(frozen=True)
class Conditioning:
    """What a model was trained on.

    Attributes:
        control: names of the control tokens that it knows, the wanted one first; empty: it was trained without.
        segment: what a control token leads: "line", "sentence" or "document".
        language: whose rules cut sentences.
        after: ids of tokens after which a sampler forces a control token.
        agreement: for sentences: `precision` (forced tokens that stand where a segment begins) and `recall` (segments
            begun that a token is forced at), on the validation texts.
        context: tokens seen at once in training, control tokens included; None: not known.
        bins: what its control tokens say of which signals' scores; None: not known, or trained without.
        profile: control tokens of authors' profiles that it knows; they stand at the head of a text.
        q_weight: a sampler adds so many times the smaller target Q to the logits (ILQL); 0: the model as it is.
    """

    control: tuple[str, ...] = ()
    segment: str = "line"
    language: str = "en"
    after: tuple[int, ...] = ()
    agreement: Mapping[str, float] | None = None
    context: int | None = None
    q_weight: float = 0.0
    profile: tuple[str, ...] = ()
    bins: Bins | None = None

    @classmethod
    def load(cls, folder: Path, tokenizer: Tokenizer, segment: str = "line") -> Conditioning:
        """What stands beside a model; where nothing does, all of the tokenizer's control tokens and this segment.

        Raises:
            CorruptCheckpoint: the file is not ours.
        """
        if not (folder / FILE).is_file():
            after = line_closers(tokenizer) if segment == "line" else ()
            known = tuple(tokenizer.control_ids)
            profile = tuple(name for name in known if "=" in name)
            return cls(tuple(name for name in known if name not in profile), segment, after=after, profile=profile)
        try:
            given = dict(read_json(folder / FILE))
            found = cls(**{field.name: given[field.name] for field in fields(cls) if field.name in given})
            if found.segment not in UNITS:
                raise ValueError(f"segment {found.segment!r}")
            names, after = tuple(map(str, found.control)), tuple(map(int, found.after))  # of JSON's lists
            weight, profile = float(found.q_weight), tuple(map(str, found.profile))
            bins = _bins(given.get("bins"))
        except (TypeError, ValueError, KeyError, InputError) as error:
            problem = f"does not say how the model was trained ({error})"
            raise CorruptCheckpoint(
                problem, "restore it, or remove it (lines are then assumed)", file=folder / FILE
            ) from None
        return dataclasses.replace(found, control=names, after=after, q_weight=weight, profile=profile, bins=bins)

    def save(self, folder: Path) -> None:
        """Write `penchant.json` into a model's folder."""
        write_json(folder / FILE, json.loads(json.dumps(asdict(self))))

    def require(self, ask: str, place: str | Path | None = None) -> None:
        """Check that a control token was trained.

        Raises:
            InputError: it was not.
        """
        if ask not in self.control:
            mend = (
                f"ask for {' or '.join(self.control)}" if self.control else "it was trained without any: leave ask out"
            )
            raise InputError(f"the model knows no control token {ask!r}", mend, file=place)

    def require_segment(self, segment: str, place: str | Path | None = None) -> None:
        """Check that data are cut as the model's were.

        Raises:
            InputError: they are not.
        """
        if segment != self.segment:
            raise InputError(
                f"the model's control tokens lead each {self.segment}, and the data are cut by {segment}",
                f"prepare the data with data.segment={self.segment}",
                file=place,
            )

    def marks(self, signal: str, threshold: float | str, summary: Mapping[str, Any]) -> Bins:
        """What tokens stand before the segments of a text that is given: by more than two bins as in training, else
        good and bad by a signal's score in data with this `summary.json`.

        Raises:
            InputError: the data have no such scores, or no such quantile of them.
        """
        if self.bins is not None and len(self.bins.names) > 2:
            return self.bins
        return Bins.two(signal, resolve_threshold(threshold, summary, signal))

    def pieces(self, text: str) -> list[str]:
        """A text's segments, as training cut them."""
        ends = segment_ends(text, self.segment, self.language)
        return [text[a:b] for a, b in zip((0, *ends[:-1]), ends, strict=False)]

    def insertions(self, tokenizer: Tokenizer, ask: str | None) -> dict[int, int]:
        """What a sampler forces after which token, so that each segment is led as in training; nothing for no ask."""
        return {} if ask is None else dict.fromkeys(self.after, tokenizer.control_ids[ask])


def _bins(told: Mapping[str, Any] | None) -> Bins | None:
    if told is None:
        return None
    return Bins(tuple(map(str, told["signals"])), tuple(tuple(map(float, own)) for own in told["edges"]))


def line_closers(tokenizer: Tokenizer) -> tuple[int, ...]:
    """The newline's token, where it has one of its own."""
    return () if tokenizer.newline_id is None else (tokenizer.newline_id,)


def segment_closers(documents: Iterable[Document], tokenizer: Tokenizer, segment: str) -> tuple[int, ...]:
    """Ids of the tokens after which a segment begins: the newline for lines, none for whole documents.

    For sentences, those after which one begins in at least half of all cases (and twice at least).
    """
    if segment != "sentence":
        return line_closers(tokenizer) if segment == "line" else ()
    seen, closing = _counts(documents, tokenizer)
    return tuple(int(i) for i in np.flatnonzero((closing >= 2) & (2 * closing >= seen)))


def agreement(documents: Iterable[Document], tokenizer: Tokenizer, after: Sequence[int]) -> dict[str, float]:
    """How well tokens tell where segments begin: `precision`, `recall`, and the number of `boundaries` looked at."""
    seen, closing = _counts(documents, tokenizer)
    chosen = list(after)
    hits, total = int(closing[chosen].sum()), int(closing.sum())
    return {
        "precision": hits / max(1, int(seen[chosen].sum())),
        "recall": hits / max(1, total),
        "boundaries": total,
    }


def _counts(documents: Iterable[Document], tokenizer: Tokenizer) -> tuple[np.ndarray, np.ndarray]:
    """For each token, int [vocabulary]: how often another one follows, and how often a new segment does."""
    seen, closing = (np.zeros(tokenizer.vocab_size, np.int64) for _ in range(2))
    some: Any = next(iter(tokenizer.control_ids))
    for document in documents:
        ids, control = encode_document(document, tokenizer, [some] * len(document.ends))
        before = ids[:-1][~control[:-1]]
        np.add.at(seen, before, 1)
        np.add.at(closing, ids[:-1][~control[:-1] & control[1:]], 1)
    return seen, closing

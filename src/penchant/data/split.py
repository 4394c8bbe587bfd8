"""Train, validation and test by a hash of each row's group, so that adding files moves none from one to another.

Or as a dataset's own files say: `train/`, `validation-00000.parquet`, `my-test.jsonl`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import numpy as np

from penchant.errors import DataRejected

__all__ = ["NAMES", "part_of", "position", "split", "split_places"]

NAMES = ("train", "validation", "test")
_SALT = "penchant split 1"
# What files and folders of datasets are called, as Hugging Face's `datasets` reads them.
_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}


def part_of(name: str) -> str | None:
    """The part that a file's name (else a folder's around it, the nearest first) speaks of; None if none or several."""
    for piece in reversed(name.split("/")):
        found = {_WORDS[word] for word in re.split(r"[^a-z]+", piece.lower()) if word in _WORDS}
        if found:
            return found.pop() if len(found) == 1 else None
    return None


def position(key: str, salt: str = _SALT) -> float:
    """Where a key falls in [0, 1): uniform, and the same for ever."""
    digest = hashlib.sha256(f"{salt}\0{key}".encode("utf-8", "replace")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def split(groups: Sequence[str], fractions: tuple[float, float, float] = (0.88, 0.045, 0.075)) -> list[str]:
    """The part of each row: "train", "validation" or "test"; rows of a group stay together.

    Test is the lowest part of the line, validation the next. Where chance leaves one of them empty (few groups), it
    gets the group that lies nearest; that is the one case in which adding files can move a group. A part whose fraction
    is 0 stays empty.

    Args:
        groups: the group of each row (its source, or a column's value).
        fractions: shares of train, validation, test; at most 1 together, the rest goes to train.

    Raises:
        DataRejected: fewer groups than parts (3, where none has a fraction of 0).
    """
    names = sorted(set(groups))
    parts = dict(zip(names, split_places(np.array([position(g) for g in names]), fractions), strict=True))
    return [NAMES[parts[g]] for g in groups]


def split_places(places: np.ndarray, fractions: tuple[float, float, float]) -> np.ndarray:
    """The part of each group by the `position` of its name, as numbers into `NAMES`; equal places are one group.

    Raises:
        DataRejected: as `split` does.
    """
    _, validation, test = fractions
    shares = {"test": test, "train": 1 - validation - test, "validation": validation}
    asked = [name for name, share in shares.items() if share > 1e-9]
    ordered, which = np.unique(places, return_inverse=True)
    if len(ordered) < len(asked):
        raise DataRejected(
            f"only {len(ordered)} group(s) of rows, too few for train, validation and test",
            "give at least 3 files or rows (a .txt or .md is one row: cut a long one into files, with"
            " `split -l 1000 --additional-suffix=.txt`, or into rows of a .jsonl), or another data.group_column",
        )
    number = {name: NAMES.index(name) for name in NAMES}
    parts = np.where(ordered < test, number["test"],
                     np.where(ordered < test + validation, number["validation"], number["train"]))  # fmt: skip
    for wanted, order in (("test", 1), ("train", -1), ("validation", 1)):
        if wanted in asked and number[wanted] not in parts:
            counts = np.bincount(parts, minlength=len(NAMES))
            nearest = np.flatnonzero(counts[parts[::order]] > 1)[0]
            parts[::order][nearest] = number[wanted]
    return parts[which].astype(np.uint8)

"""A linear text classifier: hashed n-grams of words and characters, logistic regression, one temperature.

In the spirit of "Bag of tricks for efficient text classification" (Joulin et al. 2017): on sentences such a model is
hard to beat by much, and it trains in seconds. Targets may be distributions (several raters' labels).
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from penchant.errors import InputError, MissingExtra
from penchant.files import writing

__all__ = ["ENCODER", "Linear", "fit", "load"]

BITS = 18  # of the hash: 262,144 features of each kind
_HAN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
_KIND, ENCODER = "penchant linear classifier 1", "penchant encoder classifier 1"


@dataclass(frozen=True, eq=False)
class Linear:
    """A fitted classifier.

    Attributes:
        labels: their names.
        characters: n-grams of characters alone (for languages without spaces), not words and characters.
        idf: float32 [features].
        weight: float32 [features, labels], bias: float32 [labels].
        temperature: what log-odds are divided by.
        about: data, languages, figures: the card.
    """

    labels: tuple[str, ...]
    characters: bool
    idf: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    temperature: float
    about: dict[str, Any]

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """float64 [texts, labels], rows that sum to 1."""
        if not texts:
            return np.zeros((0, len(self.labels)))
        logits = (
            _features(texts, self.characters).multiply(self.idf).tocsr() @ self.weight + self.bias
        ) / self.temperature
        weights = np.exp(logits - logits.max(1, keepdims=True))
        return np.asarray(weights / weights.sum(1, keepdims=True), float)

    def save(self, folder: Path) -> None:
        """`classifier.json` and `weights.npz`; no code and no pickle."""
        folder.mkdir(parents=True, exist_ok=True)
        with writing(folder / "weights.npz") as handle:
            used = np.flatnonzero(np.abs(self.weight).sum(1))  # most features of a small set never occur
            np.savez_compressed(handle, used=used, idf=self.idf[used], weight=self.weight[used], bias=self.bias)
        known = {"kind": _KIND, "labels": self.labels, "characters": self.characters, "bits": BITS}
        with writing(folder / "classifier.json", "w") as handle:
            json.dump(
                {**known, "temperature": self.temperature, "about": self.about}, handle, indent=1, ensure_ascii=False
            )


def load(folder: Path) -> Any:
    """A saved classifier: a `Linear`, or a `models.encoder.Classifier`; both have `labels` and `probabilities`.

    Raises:
        InputError: the folder holds none, or a broken one.
    """
    mend = "give the folder that `penchant signal train` wrote"
    try:
        known = json.loads((folder / "classifier.json").read_text(encoding="utf-8"))
        if known.get("kind") == ENCODER:
            # By name: signals load without torch, which this one alone needs.
            return importlib.import_module("penchant.models.encoder").load_classifier(folder, known)
        if known.get("kind") != _KIND:
            raise InputError(f"is no {_KIND}", mend, file=folder / "classifier.json")
        arrays = np.load(folder / "weights.npz", allow_pickle=False)
        size = len(known["labels"])
        count = (1 if known["characters"] else 2) << int(known["bits"])
        idf, weight = np.zeros(count, np.float32), np.zeros((count, size), np.float32)
        idf[arrays["used"]], weight[arrays["used"]] = arrays["idf"], arrays["weight"]
        bias = arrays["bias"]
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise InputError(f"holds no classifier ({error})", mend, file=folder) from error
    return Linear(tuple(known["labels"]), known["characters"], idf, weight, bias, known["temperature"], known["about"])


def fit(
    texts: Sequence[str], targets: np.ndarray, labels: Sequence[str], strength: float, characters: bool | None = None
) -> Linear:
    """Fit to distributions over labels.

    Args:
        texts: at least one a label.
        targets: float [texts, labels], rows that sum to 1.
        strength: the inverse of the L2 penalty (C).
        characters: as `Linear`; None: where most letters are Chinese or Japanese.

    Raises:
        MissingExtra: scikit-learn is not installed.
    """
    if characters is None:
        sample = "".join(texts[:: max(1, len(texts) // 500)])
        characters = len(_HAN.findall(sample)) > 0.3 * max(1, len("".join(sample.split())))
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise MissingExtra("training a classifier", "annotation") from error
    counts = _features(texts, characters)
    seen = np.bincount(counts.indices, minlength=counts.shape[1])
    idf = np.where(seen > 0, np.log((1 + len(texts)) / (1 + seen)) + 1, 0).astype(np.float32)
    row, label = np.nonzero(targets > 0)
    inner = LogisticRegression(C=strength, max_iter=300).fit(
        counts.multiply(idf).tocsr()[row], label, sample_weight=targets[row, label]
    )
    weight, bias = inner.coef_, inner.intercept_
    if len(labels) == 2:  # one log-odds: the second label's over the first's
        weight, bias = np.concatenate([0 * weight, weight]), np.concatenate([0 * bias, bias])
    return Linear(tuple(labels), characters, idf, weight.T.astype(np.float32), bias.astype(np.float32), 1.0, {})


def _features(texts: Sequence[str], characters: bool) -> Any:
    """Sparse float32 [texts, features]: 1 + log(count) of each n-gram, a row of length 1 for each kind."""
    try:
        from scipy.sparse import hstack
        from sklearn.feature_extraction.text import HashingVectorizer
    except ImportError as error:
        raise MissingExtra("signal classifier", "annotation") from error
    common = {"n_features": 1 << BITS, "alternate_sign": False, "norm": None, "dtype": np.float32}
    kinds = [HashingVectorizer(analyzer="char", ngram_range=(1, 3), **common)]
    if not characters:
        kinds = [
            HashingVectorizer(ngram_range=(1, 2), token_pattern=r"\w+|[^\w\s]", **common),
            HashingVectorizer(analyzer="char_wb", ngram_range=(2, 5), **common),
        ]
    parts = []
    for kind in kinds:
        found = kind.transform(texts).tocsr()
        found.data = 1 + np.log(found.data)
        length = np.sqrt(np.asarray(found.multiply(found).sum(1)).ravel())
        found.data /= np.repeat(np.maximum(length, 1e-9), np.diff(found.indptr)).astype(np.float32)
        parts.append(found)
    return hstack(parts).tocsr()

"""Probabilities mended by a few items whose truth is known: one temperature for all, or a monotone curve."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from penchant.errors import DataRejected, MissingExtra

__all__ = ["isotonic", "log_loss", "temperature"]

Mend = Callable[[np.ndarray], np.ndarray]
_LEAST = 1e-6  # a probability of 0 that was wrong would cost everything


def log_loss(probability: np.ndarray, truth: np.ndarray) -> float:
    """Mean of -log p(truth), nats; probability float [items, labels], truth int [items]; p is at least 1e-6."""
    return float(-np.log(np.clip(probability[np.arange(len(truth)), truth], _LEAST, 1)).mean())


def temperature(probability: np.ndarray, truth: np.ndarray) -> Mend:
    """Probabilities to the power of 1 / T, T that of the lowest log-loss (Guo et al. 2017, section 4.2).

    Args:
        probability: float [items, labels].
        truth: int [items].

    Raises:
        DataRejected: no item.
    """
    _require(truth)

    def with_(power: float, p: np.ndarray) -> np.ndarray:
        logs = power * np.log(np.clip(p, _LEAST, 1))
        weights = np.exp(logs - logs.max(1, keepdims=True))
        return np.asarray(weights / weights.sum(1, keepdims=True))

    # The loss is convex in the power: close in on its minimum by thirds.
    low, high = 1e-3, 20.0
    for _ in range(100):
        a, b = low + (high - low) / 3, high - (high - low) / 3
        if log_loss(with_(a, probability), truth) <= log_loss(with_(b, probability), truth):
            high = b
        else:
            low = a
    power = (low + high) / 2
    return lambda p: with_(power, p)


def isotonic(probability: np.ndarray, truth: np.ndarray) -> Mend:
    """Each label's probability by a monotone step function, then made to sum to 1 (Zadrozny and Elkan 2002).

    Raises:
        DataRejected: no item.
        MissingExtra: scikit-learn is not installed.
    """
    _require(truth)
    try:
        from sklearn.isotonic import IsotonicRegression
    except ImportError as error:
        raise MissingExtra("isotonic calibration", "annotation") from error
    curves = [
        IsotonicRegression(y_min=_LEAST, y_max=1 - _LEAST, out_of_bounds="clip").fit(
            probability[:, label], truth == label
        )
        for label in range(probability.shape[1])
    ]

    def mend(p: np.ndarray) -> np.ndarray:
        found = np.stack([curve.predict(p[:, label]) for label, curve in enumerate(curves)], 1)
        return np.asarray(found / found.sum(1, keepdims=True))

    return mend


def _require(truth: np.ndarray) -> None:
    if not len(truth):
        raise DataRejected("no item has a known truth", "give --truth a file with some of the items")

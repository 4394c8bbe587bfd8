"""How an agent tries actions: greedy but for a share, or by Boltzmann; pure functions of values."""

from __future__ import annotations

import numpy as np

__all__ = ["boltzmann", "chosen", "epsilon_greedy", "schedule"]


def schedule(step: int, steps: int, start: float, end: float, fraction: float) -> float:
    """From start to end in a straight line over a fraction of the steps, then end."""
    done = min(1.0, step / max(1.0, fraction * steps))
    return start + (end - start) * done


def epsilon_greedy(values: np.ndarray, epsilon: float) -> np.ndarray:
    """Probabilities [N, actions]: the best action (the first of equals) with 1 - epsilon, each with epsilon / A.

    Args:
        values: action values [N, actions].
    """
    count = values.shape[-1]
    found = np.full(values.shape, epsilon / count)
    found[np.arange(len(values)), values.argmax(-1)] += 1 - epsilon
    return found


def boltzmann(values: np.ndarray, tau: float) -> np.ndarray:
    """Probabilities [N, actions]: P(a | s) = exp(Q(s, a) / tau) / sum over a' of exp(Q(s, a') / tau)."""
    scaled = values.astype(float) / tau
    powers = np.exp(scaled - scaled.max(-1, keepdims=True))
    found: np.ndarray = powers / powers.sum(-1, keepdims=True)
    return found


def chosen(probabilities: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """An action a row, by inverting the distribution at numbers in [0, 1): int64 [N]."""
    ends = probabilities.cumsum(-1)
    return np.minimum((uniform[:, None] * ends[:, -1:] >= ends).sum(-1), probabilities.shape[-1] - 1)

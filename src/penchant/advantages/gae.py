"""Generalised advantage estimation over the tokens of completions (Schulman et al. 2016, eq. 16)."""

from __future__ import annotations

import numpy as np

__all__ = ["gae", "whitened"]


def gae(
    rewards: np.ndarray,
    values: np.ndarray,
    ends: np.ndarray,
    gamma: float = 1.0,
    lam: float = 0.95,
    cut: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Advantages and returns of flat steps, sequence after sequence.

    A_t = d_t + gamma lam A_{t+1}, d_t = r_t + gamma V_{t+1} - V_t; what follows an end is worth 0.

    Args:
        rewards, values: float [N], r_t and V(s_t).
        ends: bool [N], True at the last step of each sequence.
        cut: bool [N], True at ends that a limit made: what would have followed is worth what the last state is (its
            value stands for that of the next, which nobody asked for). With lam = 1 and no such ends advantages are
            unbiased; lam < 1 is biased where the values are wrong, and so is a cut.

    Returns:
        advantages, returns (advantages + values): float32 [N].
    """
    advantages = np.zeros(len(rewards), np.float64)
    after, next_value = 0.0, 0.0
    for t in range(len(rewards) - 1, -1, -1):
        if ends[t]:
            after, next_value = 0.0, float(values[t]) if cut is not None and cut[t] else 0.0
        delta = rewards[t] + gamma * next_value - values[t]
        after = delta + gamma * lam * after
        next_value = values[t]
        advantages[t] = after
    return advantages.astype(np.float32), (advantages + values).astype(np.float32)


def whitened(values: list[np.ndarray], floor: float = 1e-8) -> list[np.ndarray]:
    """Arrays shifted and scaled together to mean 0 and standard deviation 1; fewer than 2 numbers stay as they are."""
    every = np.concatenate(values) if values else np.zeros(0)
    if len(every) < 2:
        return values
    mean, std = every.mean(), every.std()
    return [((one - mean) / (std + floor)).astype(np.float32) for one in values]

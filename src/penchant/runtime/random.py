"""Random numbers by counter: the same (seed, purpose, index) gives the same numbers, whatever was drawn before."""

from __future__ import annotations

import numpy as np

from penchant.files import stable_hash

__all__ = ["stream"]


def stream(seed: int, *purpose: str | int) -> np.random.Generator:
    """A NumPy generator (Philox) of its own for a purpose, e.g. `stream(seed, "rollout", step)`."""
    key = int(stable_hash([seed, *purpose])[:32], 16)
    return np.random.Generator(np.random.Philox(key=key))

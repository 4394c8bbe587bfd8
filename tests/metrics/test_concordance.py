"""Concordance against scikit-learn's AUC, against counting pairs one by one, and at the edges."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penchant.metrics.concordance import concordance

VALUES = st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 4)), min_size=2, max_size=25)


@given(VALUES)
def test_it_counts_pairs(rows):
    score, rating = np.array(rows, float).T
    pairs = [(s - t, a - b) for s, a in rows for t, b in rows if a > b]
    value, *_ = concordance(score, rating, 0)
    if not pairs:
        assert value is None
    else:
        assert value == pytest.approx(np.mean([1.0 if gap > 0 else 0.5 if gap == 0 else 0.0 for gap, _ in pairs]))


def test_of_two_classes_it_is_the_auc_and_its_interval_covers():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(40):
        y = rng.integers(0, 2, 120)
        x = y + rng.normal(size=120)
        value, low, high = concordance(x, y, 300)
        assert value == pytest.approx(metrics.roc_auc_score(y, x))
        covered += low < 0.7602 < high  # P(a normal above another by one): Phi(1 / sqrt 2)
    assert covered >= 34

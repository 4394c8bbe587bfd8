"""Calibration: against sums written out, and at the edges."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penchant.metrics.calibration import brier, expected_calibration_error

ROWS = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=40)


@given(ROWS)
def test_against_loops(rows):
    p, y = map(np.array, zip(*rows, strict=True))
    assert brier(p, y) == pytest.approx(sum((a - b) ** 2 for a, b in rows) / len(rows))
    total = 0.0
    for k in range(10):
        inside = [(a, b) for a, b in rows if min(int(a * 10), 9) == k]
        if inside:
            gap = abs(np.mean([a for a, _ in inside]) - np.mean([b for _, b in inside]))
            total += len(inside) / len(rows) * gap
    assert expected_calibration_error(p, y) == pytest.approx(total, abs=1e-9)


def test_what_is_calibrated_is_0_and_nothing_is_nan():
    p = np.repeat([0.2, 0.8], 10)
    y = np.array([1, 1, *[0] * 8, *[1] * 8, 0, 0], float)
    assert expected_calibration_error(p, y) == pytest.approx(0)
    assert brier([1.0, 0.0], [1, 0]) == 0
    assert np.isnan(brier([], []))
    assert np.isnan(expected_calibration_error([], []))

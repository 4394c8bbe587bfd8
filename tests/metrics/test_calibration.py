"""Calibration: against sums written out, and at the edges."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penchant.metrics.calibration import brier, expected_calibration_error, with_intervals

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


def test_intervals_are_those_of_items_drawn_again():
    rng = np.random.default_rng(0)
    p = rng.random(60)
    y = (rng.random(60) < p).astype(float)
    often = rng.multinomial(60, np.full(60, 1 / 60), 200).astype(float)
    found = with_intervals(p, y, often)
    for name, one in (("ece", expected_calibration_error), ("brier", brier)):
        made = [one(np.repeat(p, row.astype(int)), np.repeat(y, row.astype(int))) for row in often]
        assert found[name][0] == pytest.approx(one(p, y))
        assert found[name][1:] == pytest.approx(list(np.quantile(made, [0.025, 0.975])))

"""Rows are cut evenly and for every lane; what processes tell each other comes back as it was."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from penchant.batches.spread import _completion, _packed, cut
from penchant.records import Completion


@given(st.integers(0, 200), st.integers(1, 40), st.integers(1, 9))
def test_a_cut_is_even_in_order_and_has_work_for_every_lane(rows: int, most: int, lanes: int) -> None:
    groups = cut(range(rows), most, lanes)
    assert [row for group in groups for row in group] == list(range(rows))
    sizes = [len(group) for group in groups]
    assert all(1 <= size <= most for size in sizes)
    assert max(sizes, default=0) - min(sizes, default=0) <= 1
    assert len(groups) % lanes == 0 or len(groups) == rows


def test_a_completion_survives_the_way_to_other_processes() -> None:
    one = Completion((5, 2, 9), np.float32([-0.1, 0.0, -3.3]), np.array([False, True, False]), "a\nb\ud7ff", "end")
    again = _completion(json.loads(json.dumps(_packed(one))))
    assert (again.ids, again.text, again.stop) == (one.ids, one.text, one.stop)
    assert np.array_equal(again.logprobs, one.logprobs)
    assert np.array_equal(again.forced, one.forced)

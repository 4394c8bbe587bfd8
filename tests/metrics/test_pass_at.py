"""pass@k against counting all subsets."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penchant.metrics._pass_at import pass_at


@given(st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=1, max_size=4), st.integers(1, 5))
def test_it_is_the_share_of_subsets_with_one_that_passes(passed, k):
    shares = [np.mean([any(row[i] for i in chosen) for chosen in combinations(range(5), k)]) for row in passed]
    assert pass_at(np.array(passed), k) == pytest.approx(np.mean(shares))


def test_k_above_n_is_no_question():
    with pytest.raises(ValueError, match="pass@4 of 3"):
        pass_at(np.zeros((1, 3), bool), 4)

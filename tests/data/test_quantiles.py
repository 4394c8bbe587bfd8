import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from penchant.data.quantiles import at_ranks

FLOATS = st.floats(width=32, allow_nan=False)


@given(st.lists(FLOATS, min_size=1, max_size=200), st.integers(1, 50))
def test_ranks_are_those_of_a_sort(values: list[float], size: int) -> None:
    array = np.array(values, np.float32) + np.float32(0)  # no negative zeros, which sort equal
    blocks = [array[k : k + size] for k in range(0, len(array), size)]
    ranks = [0, len(array) // 3, len(array) // 2, len(array) - 1]
    assert at_ranks(lambda: iter(blocks), ranks) == np.sort(array)[ranks].tolist()

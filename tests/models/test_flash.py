"""Where the flash kernel's queries and keys lie, against the sequences themselves; the kernel itself needs CUDA."""

from itertools import pairwise

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from penchant.models import flash


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 2)), min_size=1, max_size=8), st.booleans())
def test_keys_are_the_prefix_and_then_its_own(sizes, shared):
    prompts = [3, 5]
    lengths = torch.tensor([*prompts, *(n for n, _ in sizes)])
    prefix = torch.tensor([-1, -1, *(p - 1 for _, p in sizes)])
    flat = flash.Flat.of(lengths, prefix if shared else None)
    starts = np.concatenate([[0], np.cumsum(lengths.numpy())])
    assert flat.queries.tolist() == starts.tolist()
    wanted = []
    for number, length in enumerate(lengths.tolist()):
        before = int(prefix[number]) if shared else -1
        fore = list(range(starts[before], starts[before + 1])) if before >= 0 else []
        wanted.append([*fore, *range(starts[number], starts[number] + length)])
    edges = flat.keys.tolist()
    every = list(range(starts[-1])) if flat.gather is None else flat.gather.tolist()
    assert [every[a:b] for a, b in pairwise(edges)] == wanted
    assert flat.longest == int(lengths.max()) and flat.reach == max(map(len, wanted))


def test_a_gathered_row_gets_the_sum_of_its_gradients():
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    index = torch.tensor([0, 1, 1, 3, 1])
    weights = torch.randn(5, 3, dtype=torch.float64)
    (flash._Gather.apply(x, index) * weights).sum().backward()
    wanted = torch.stack([weights[index == row].sum(0) for row in range(4)])
    torch.testing.assert_close(x.grad, wanted, rtol=1e-6, atol=1e-6)
    assert not flash.usable(torch.device("cpu"), torch.bfloat16, 64)

"""Draws follow the distribution; what is cut is cut as the papers say."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from penchant.sampling.options import Options
from penchant.sampling.warp import choose, cut, draw


def test_draws_follow_the_distribution():
    mass = torch.tensor([0.5, 0.0, 0.3, 0.2]).repeat(40000, 1)
    uniforms = torch.from_numpy(np.random.default_rng(0).random(40000))
    ids, total = draw(mass, uniforms)
    share = torch.bincount(ids, minlength=4) / 40000
    assert share[1] == 0
    assert torch.allclose(share, torch.tensor([0.5, 0.0, 0.3, 0.2]), atol=0.01)
    assert torch.allclose(total, torch.ones(40000))
    edges = torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64)
    assert draw(torch.tensor([[0.0, 1.0, 0.0]] * 2), edges)[0].tolist() == [1, 1]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.integers(0, 2**31), st.floats(0, 1, exclude_max=True))
def test_a_draw_is_where_the_sum_passes_the_number_and_never_a_zero(width, seed, uniform):
    noise = np.random.default_rng(seed)
    mass = torch.from_numpy((noise.random((4, width)) ** 8 * (noise.random((4, width)) < 0.5)).astype(np.float32))
    mass[:, noise.integers(width)] += 1e-3
    ids, total = draw(mass, torch.full((4,), uniform, dtype=torch.float64))
    sums = mass.double().cumsum(-1)
    for row in range(4):
        assert mass[row, ids[row]] > 0
        target = uniform * float(sums[row, -1])
        at = int(ids[row])
        assert float(sums[row, at]) >= target - 1e-6
        assert (float(sums[row, at - 1]) if at else 0.0) <= target + 1e-6
    torch.testing.assert_close(total, sums[:, -1].float(), rtol=1e-5, atol=0)


def test_top_k_top_p_and_min_p_keep_the_likeliest():
    mass = torch.tensor([[0.1, 0.4, 0.2, 0.3]])
    assert torch.allclose(cut(mass, top_k=2), torch.tensor([[0, 0.4, 0, 0.3]]))
    for top_p, kept in ((0.69, [0, 0.4, 0, 0.3]), (0.71, [0, 0.4, 0.2, 0.3]), (0.1, [0, 0.4, 0, 0]), (0.999, mass[0])):
        assert torch.allclose(cut(mass, top_p=top_p), torch.as_tensor(kept))
    assert torch.allclose(cut(mass, min_p=0.6), torch.tensor([[0, 0.4, 0, 0.3]]))
    assert torch.allclose(cut(mass, top_k=3, top_p=0.5), torch.tensor([[0, 0.4, 0, 0.3]]))  # of 0.9, half is 0.45


@pytest.mark.parametrize("top_p", [0.3, 0.9, 0.999])
def test_top_p_over_a_flat_distribution_looks_further_than_a_few_hundred(top_p):
    mass = torch.softmax(torch.randn(3, 5000, generator=torch.Generator().manual_seed(0)) * 0.1, -1)
    kept = cut(mass, top_p=top_p)
    ordered = mass.sort(descending=True).values.double()
    for row in range(3):
        fewest = int((ordered[row].cumsum(-1) < top_p).sum()) + 1
        assert abs(int((kept[row] > 0).sum()) - fewest) <= 1


def test_warps_are_those_of_transformers():
    from transformers.generation.logits_process import (
        MinPLogitsWarper,
        RepetitionPenaltyLogitsProcessor,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    logits = torch.randn(6, 200, generator=torch.Generator().manual_seed(1)) * 3
    history = torch.randint(0, 200, (6, 15), generator=torch.Generator().manual_seed(2))
    seen = torch.zeros(6, 200, dtype=torch.bool).scatter_(1, history, True)
    scores = RepetitionPenaltyLogitsProcessor(1.4)(history, logits.clone()) / 0.7
    for warper in (TopKLogitsWarper(40), TopPLogitsWarper(0.9), MinPLogitsWarper(0.02)):
        scores = warper(history, scores)
    expected = torch.log_softmax(scores, -1)
    options = Options(max_new_tokens=1, temperature=0.7, top_k=40, top_p=0.9, min_p=0.02, repetition_penalty=1.4)
    for uniform in (0.01, 0.2, 0.5, 0.8, 0.999):
        found = choose(logits.clone(), torch.full((6,), uniform, dtype=torch.float64), options, seen)
        torch.testing.assert_close(found.sampling, expected.gather(1, found.ids[:, None]).squeeze(1), rtol=0, atol=2e-5)
        own = torch.log_softmax(logits / 0.7, -1).gather(1, found.ids[:, None]).squeeze(1)
        torch.testing.assert_close(found.logprobs, own, rtol=0, atol=1e-5)

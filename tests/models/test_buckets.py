"""Sequences that share a prompt give the same states and gradients as the same sequences written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from penchant.models import kernels
from penchant.models.buckets import FILL, buckets
from penchant.models.config import DecoderConfig
from penchant.models.decoder import Decoder


def _model(**changes):
    sizes = {"vocab_size": 61, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    return Decoder(DecoderConfig(**sizes, **heads, **changes)).initialise(3)


def _written_out(prompts, groups):
    rows = [p + c for p, group in zip(prompts, groups, strict=True) for c in group]
    return rows, [list(range(len(r))) for r in rows]


def _shared(prompts, groups):
    """Each prompt, then its completions; prefix says whose."""
    rows, positions, prefix = [], [], []
    for prompt, group in zip(prompts, groups, strict=True):
        mine = len(rows)
        rows.append(prompt)
        positions.append(list(range(len(prompt))))
        prefix.append(-1)
        for completion in group:
            rows.append(completion)
            positions.append(list(range(len(prompt), len(prompt) + len(completion))))
            prefix.append(mine)
    return rows, positions, torch.tensor(prefix)


def _states(model, rows, positions, prefix=None):
    flat = torch.tensor([i for r in rows for i in r]), torch.tensor([i for p in positions for i in p])
    return model(*flat, torch.tensor([len(r) for r in rows]), prefix).split([len(r) for r in rows])


@pytest.mark.parametrize("side", ["native", "torch"])
@pytest.mark.parametrize("window", [None, 6])
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_a_shared_prompt_changes_nothing(side, window, seed):
    rng = np.random.default_rng(seed)
    draw = lambda low, high: rng.integers(0, 61, rng.integers(low, high)).tolist()  # noqa: E731
    prompts = [draw(1, 90) for _ in range(3)]
    groups = [[draw(1, 80) for _ in range(int(rng.integers(1, 4)))] for _ in prompts]
    model = _model() if window is None else _model(model_type="mistral", sliding_window=window)
    keep = kernels._native
    if side == "torch":
        kernels._native = lambda name, x: None
    try:
        plain = _states(model, *_written_out(prompts, groups))
        want = [
            s[len(p) :]
            for s, p in zip(plain, [p for p, g in zip(prompts, groups, strict=True) for _ in g], strict=True)
        ]
        rows, positions, prefix = _shared(prompts, groups)
        found = [s for s, p in zip(_states(model, rows, positions, prefix), prefix, strict=True) if p >= 0]
        weights = [torch.from_numpy(rng.normal(size=w.shape)).float() for w in want]
        gradients = []
        for states in (want, found):
            loss = torch.stack([(s * w).sum() for s, w in zip(states, weights, strict=True)]).sum()
            gradients.append(torch.autograd.grad(loss, list(model.parameters())))
    finally:
        kernels._native = keep
    for a, b in zip(found, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    for a, b in zip(*gradients, strict=True):
        assert float((a - b).norm()) <= 1e-5 * (1 + float(a.norm()))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 300), min_size=1, max_size=30))
def test_buckets_hold_each_token_once_and_little_air(lengths):
    found = buckets(torch.tensor(lengths))
    held = [torch.arange(sum(lengths)) if b.token is None else b.token for b in found]
    assert torch.cat(held).sort().values.tolist() == list(range(sum(lengths)))
    for bucket, tokens in zip(found, held, strict=True):
        assert len(bucket.place.unique()) == len(tokens) and int(bucket.place.max()) < bucket.rows * bucket.longest
        assert len(tokens) >= FILL * bucket.rows * bucket.longest or bucket.rows == 1


def test_a_prefix_of_a_prefix_is_refused():
    with pytest.raises(ValueError, match="prefix"):
        buckets(torch.tensor([2, 3, 4]), torch.tensor([-1, 0, 1]))

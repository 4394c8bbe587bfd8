"""Batches written out and batches that share prompts ask for the same labels with the same answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from penchant.data.pack import masked_batch, next_token_batch, pair_batch, shared_prompt_batch
from penchant.models.config import DecoderConfig
from penchant.models.decoder import Decoder
from penchant.models.quantities import quantities

MODEL = Decoder(
    DecoderConfig(vocab_size=41, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
                  num_key_value_heads=1)
).initialise(0)  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_shared_prompts_ask_the_same_as_written_out_ones(seed):
    rng = np.random.default_rng(seed)
    draw = lambda low: rng.integers(0, 41, rng.integers(low, 20))  # noqa: E731
    prompts = [draw(1) for _ in range(3)]
    groups = [[draw(1) for _ in range(int(rng.integers(1, 4)))] for _ in prompts]
    keep = [[rng.random(len(c)) < 0.8 for c in group] for group in groups]
    gain = [[rng.normal(size=len(c)) for c in group] for group in groups]
    shared = shared_prompt_batch(prompts, groups, keep, {"gain": gain}, 0.8, (3,))
    pairs = [
        (p, c, k, g)
        for p, *parts in zip(prompts, groups, keep, gain, strict=True)
        for c, k, g in zip(*parts, strict=True)
    ]
    plain = next_token_batch(
        [np.concatenate([p, c]) for p, c, _, _ in pairs],
        [np.concatenate([np.zeros(len(p), bool), k]) for p, _, k, _ in pairs],
        {"gain": [np.concatenate([np.zeros(len(p)), g]) for p, _, _, g in pairs]},
        0.8,
        (3,),
    )
    assert shared.labels.tolist() == plain.labels.tolist() and shared.unit.tolist() == plain.unit.tolist()
    np.testing.assert_array_equal(shared.columns["gain"], plain.columns["gain"])
    assert len(shared.inputs) <= len(plain.inputs)
    if len(shared.labels):
        a, b = (quantities(MODEL, batch, ("logprobs",))["logprobs"] for batch in (shared, plain))
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_empty_prompts_and_completions_are_refused():
    one, none = np.array([1]), np.zeros(0, np.int64)
    for prompts, groups in (([none], [[one]]), ([one], [[none]])):
        with pytest.raises(ValueError, match="at least 1 token"):
            shared_prompt_batch(prompts, groups)


def test_a_pair_stands_as_source_start_and_target_without_its_last_token():
    sources, targets = [np.array([5, 6, 7]), np.array([8])], [np.array([10, 11]), np.array([12, 13, 14])]
    keep = [np.array([True, True]), np.array([True, False, True])]
    batch = pair_batch(sources, targets, 2, keep, {"gain": [np.array([0.1, 0.2]), np.array([0.3, 0.4, 0.5])]})
    assert batch.inputs.tolist() == [5, 6, 7, 2, 10, 8, 2, 12, 13]
    assert batch.role.tolist() == [0, 0, 0, 1, 1, 0, 1, 1, 1]
    assert batch.positions.tolist() == [0, 1, 2, 0, 1, 0, 0, 1, 2]
    assert batch.lengths.tolist() == [5, 4]
    assert batch.labels.tolist() == [10, 11, 12, 14]
    assert batch.at.tolist() == [3, 4, 6, 8]
    assert batch.unit.tolist() == [0, 0, 1, 1]
    np.testing.assert_allclose(batch.columns["gain"], [0.1, 0.2, 0.3, 0.5])
    assert pair_batch(sources, targets, 2).labels.tolist() == [10, 11, 12, 13, 14]


def test_hidden_tokens_are_asked_for_where_they_stood():
    rows, hidden = [np.array([5, 6, 7]), np.array([8, 9])], [np.array([0, 1, 0]), np.array([1, 1])]
    batch = masked_batch(rows, hidden, 3, banned=(0,))
    assert batch.inputs.tolist() == [5, 3, 7, 3, 3]
    assert (batch.labels.tolist(), batch.at.tolist(), batch.unit.tolist()) == ([6, 8, 9], [1, 3, 4], [0, 1, 1])
    assert (batch.lengths.tolist(), batch.positions.tolist()) == ([3, 2], [0, 1, 2, 0, 1])
    shown = masked_batch(rows, hidden, 3, [np.array([5, 6, 7]), np.array([3, 50])])
    assert shown.inputs.tolist() == [5, 6, 7, 3, 50]
    assert shown.labels.tolist() == batch.labels.tolist()

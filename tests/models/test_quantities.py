"""Log-probs and their gradients in chunks, against the whole matrix at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from penchant.data.pack import next_token_batch
from penchant.models import quantities as module
from penchant.models.config import DecoderConfig
from penchant.models.decoder import Decoder
from penchant.models.quantities import quantities

SIZES = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}


def _model(tied=True):
    return Decoder(DecoderConfig(vocab_size=37, num_key_value_heads=1, tie_word_embeddings=tied, **SIZES)).initialise(1)


def _reference(model, batch):
    ids, positions, lengths = (torch.from_numpy(x) for x in (batch.inputs, batch.positions, batch.lengths))
    states = model(ids, positions, lengths)[torch.from_numpy(batch.at)]
    logits = states @ model.head.T / batch.temperature
    logits[:, list(batch.banned)] = float("-inf")
    logp = torch.log_softmax(logits, -1)
    entropy = -(logp.exp() * logp.nan_to_num(neginf=0.0)).sum(-1)
    return logp.gather(1, torch.from_numpy(batch.labels)[:, None]).squeeze(1), entropy


def _batch(seed, banned=()):
    rng = np.random.default_rng(seed)
    return next_token_batch([rng.integers(3, 37, n) for n in (9, 4, 17)], None, None, 0.7, banned)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 999), at_once=st.sampled_from([37, 200, 1 << 24]), uniform=st.booleans(), tied=st.booleans(),
    weights=st.booleans(),
)  # fmt: skip
def test_log_probs_and_gradients_do_not_depend_on_chunks(seed, at_once, uniform, tied, weights):
    model, batch = _model(tied), _batch(seed, (1, 2))
    keep, module.LOGITS = module.LOGITS, at_once
    try:
        found = quantities(model, batch, ("logprobs",), uniform)["logprobs"]
        want, _ = _reference(model, batch)
        torch.testing.assert_close(found, want, rtol=1e-5, atol=1e-5)
        weight = torch.rand(len(want)) if weights else torch.tensor(0.37)
        parameters = list(model.parameters())
        got = torch.autograd.grad((found * weight).sum(), parameters)
    finally:
        module.LOGITS = keep
    for a, b in zip(got, torch.autograd.grad((want * weight).sum(), parameters), strict=True):
        assert float((a - b).norm()) <= 1e-5 * (1e-3 + float(b.norm()))


def test_entropy_and_its_gradient():
    model, batch = _model(), _batch(5, (1,))
    found = quantities(model, batch, ("logprobs", "entropy"))
    want, entropy = _reference(model, batch)
    torch.testing.assert_close(found["entropy"], entropy, rtol=1e-5, atol=1e-5)
    parameters = list(model.parameters())
    got = torch.autograd.grad((found["entropy"] * 2 - found["logprobs"]).sum(), parameters)
    for a, b in zip(got, torch.autograd.grad((entropy * 2 - want).sum(), parameters), strict=True):
        assert float((a - b).norm()) <= 1e-5 * (1e-3 + float(b.norm()))


def test_the_whole_matrix_never_exists(monkeypatch):
    monkeypatch.setattr(module, "LOGITS", 37 * 8)
    seen = []
    made = module._logits
    monkeypatch.setattr(module, "_logits", lambda h, *rest: seen.append(len(h)) or made(h, *rest))
    model, batch = _model(), _batch(0)
    for uniform in (False, True):
        quantities(model, batch, ("logprobs",), uniform)["logprobs"].sum().backward()
    assert max(seen) <= 8 and sum(seen) == 3 * len(batch.labels)  # the early gradient needs them once, the other twice


@pytest.mark.parametrize("bias", [False, True])
def test_a_head_bias_is_part_of_the_logits(bias):
    model, batch = _model(), _batch(2)
    if bias:
        model.head_bias = torch.nn.Parameter(torch.randn(37))
    found = quantities(model, batch, ("logprobs",), True)["logprobs"]
    ids, positions, lengths = (torch.from_numpy(x) for x in (batch.inputs, batch.positions, batch.lengths))
    logits = model(ids, positions, lengths)[torch.from_numpy(batch.at)] @ model.head.T
    logits = logits + model.head_bias if bias else logits
    logp = torch.log_softmax(logits / 0.7, -1)
    want = logp.gather(1, torch.from_numpy(batch.labels)[:, None]).squeeze(1)
    torch.testing.assert_close(found, want, rtol=1e-5, atol=1e-5)
    if bias:
        (got,) = torch.autograd.grad(found.sum(), [model.head_bias])
        (expected,) = torch.autograd.grad(want.sum(), [model.head_bias])
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)

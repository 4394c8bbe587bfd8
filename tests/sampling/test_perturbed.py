"""A policy moved by action values: what is drawn, and its log-probs, for our decoder and for transformers' models."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from penchant.errors import InputError
from penchant.models.config import DecoderConfig
from penchant.models.decoder import Decoder
from penchant.models.frozen import Frozen
from penchant.models.heads import add_heads
from penchant.models.hugging_face import Foreign
from penchant.sampling.engine import generate

VOCABULARY, WEIGHT, HEAT = 24, 1.5, 0.7
PROMPTS = [[3, 7, 1], [5], [9, 9, 2, 4]]


def decoder():
    config = DecoderConfig(vocab_size=VOCABULARY, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
                           num_attention_heads=2, num_key_value_heads=1, initializer_range=0.3)  # fmt: skip
    return Decoder(config).initialise(0)


def gpt2():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=VOCABULARY, n_positions=64, n_embd=16, n_layer=2, n_head=2,
                                     initializer_range=0.3)  # fmt: skip
    return Foreign(transformers.GPT2LMHeadModel(config), "causal")


def with_values(model):
    add_heads(model, {"target_q1": 0, "target_q2": 0})
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.heads.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=random))
    return model


@torch.no_grad()
def moved_logprobs(model, prompt, ids):
    """log softmax((logits + weight min(Q1, Q2)) / temperature) of each token, from the whole matrices."""
    whole = torch.tensor([*prompt, *ids[:-1]])
    states = model(whole, torch.arange(len(whole)), torch.tensor([len(whole)]))[len(prompt) - 1 :]
    bias = getattr(model, "head_bias", None)
    logits = torch.nn.functional.linear(states, model.head, bias)
    least = torch.minimum(model.heads["target_q1"](states), model.heads["target_q2"](states))
    logp = ((logits + WEIGHT * least) / HEAT).log_softmax(-1)
    return logp.gather(1, torch.tensor(ids)[:, None]).squeeze(1).numpy()


@pytest.mark.parametrize("make", [decoder, gpt2])
def test_log_probs_are_those_of_the_moved_policy(make):
    model = with_values(make())
    for one, prompt in zip(
        generate(model, PROMPTS, max_new_tokens=6, q_weight=WEIGHT, temperature=HEAT), PROMPTS, strict=True
    ):
        np.testing.assert_allclose(one.logprobs, moved_logprobs(model, prompt, one.ids), rtol=1e-3, atol=1e-4)
        assert one.sampling_logprobs is None  # it is the policy that was drawn from, no warp of it
    plain = generate(model, PROMPTS, max_new_tokens=6, temperature=HEAT)
    bare = generate(make(), PROMPTS, max_new_tokens=6, temperature=HEAT)
    assert [one.ids for one in plain] == [one.ids for one in bare]  # without a weight, values change nothing


def test_draws_follow_the_moved_distribution():
    model = with_values(decoder())
    count = 4000
    drawn = generate(model, [PROMPTS[0]] * count, max_new_tokens=1, q_weight=WEIGHT, temperature=HEAT)
    seen = np.bincount([one.ids[0] for one in drawn], minlength=VOCABULARY) / count
    p = np.exp([moved_logprobs(model, PROMPTS[0], [token])[0] for token in range(VOCABULARY)])
    assert np.abs(seen - p).max() < 5 * np.sqrt(p * (1 - p) / count).max()
    greedy = generate(model, [PROMPTS[0]], max_new_tokens=1, q_weight=WEIGHT, temperature=0.0)[0].ids[0]
    assert greedy == p.argmax()


def test_bans_and_prompts_log_probs_hold_for_the_moved_policy():
    model = with_values(decoder())
    banned = list(range(12))
    found = generate(model, PROMPTS, max_new_tokens=8, q_weight=20.0, ban=banned)
    assert all(token >= 12 for one in found for token in one.ids)
    one = generate(model, [[3, 7, 1]], max_new_tokens=1, q_weight=WEIGHT, temperature=HEAT, prompt_logprobs=True)[0]
    np.testing.assert_allclose(one.prompt_logprobs, moved_logprobs(model, [3], [7, 1]), rtol=1e-3, atol=1e-4)
    with pytest.raises(InputError, match="own"):
        generate(with_values(gpt2()), [[3, 7]], max_new_tokens=1, q_weight=1.0, prompt_logprobs=True)


@pytest.mark.parametrize("make", [decoder, gpt2, lambda: Frozen(decoder())])
def test_models_without_values_are_refused(make):
    with pytest.raises(InputError, match="no action values"):
        generate(make(), PROMPTS, max_new_tokens=2, q_weight=1.0)


@pytest.mark.parametrize("weight", [-1.0, float("inf"), float("nan")])
def test_weights_out_of_range_are_refused(weight):
    with pytest.raises(InputError, match="q_weight is"):
        generate(decoder(), PROMPTS, max_new_tokens=2, q_weight=weight)
